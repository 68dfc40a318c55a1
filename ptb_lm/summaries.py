"""All that TensorBoard shows.

Train and valid have a folder, and so a curve, each; tags are the same in both,
so that TensorBoard draws them on one chart.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from ptb_lm import files
from ptb_lm.errors import UserError

_PENDING = "pending"  # not a name that TensorBoard takes for events
_FRAME_BYTES = 16  # of a TFRecord: length, its checksum, the content's checksum


@contextlib.contextmanager
def _user_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns what TensorFlow raises for a file into a UserError."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = files.reason(error)
        raise UserError(f"{path}: cannot read or write events: {reason}") from error


class Summaries:
    """Writes the events of one run, going on after a given step.

    Points that an interrupted process wrote after its last checkpoint are
    dropped first, so that a resumed run has none twice.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        step: int,
        epochs: list[dict[str, float]],
        floor_perplexity: float | None = None,
    ):
        """Opens the writers.

        Args:
          folder: holds the folders train, valid and floor.
          step: points of later steps are dropped.
          epochs: the epochs that are done, each with its last "step"; points of
            later epochs are dropped.
          floor_perplexity: drawn as a curve of its own where it is known.
        """
        self._folder = folder
        self._floor_perplexity = floor_perplexity
        # An epoch's last step can be in a checkpoint without its valid score.
        valid_step = epochs[-1]["step"] if epochs else 0
        last_steps = {"train": step, "valid": valid_step}
        if floor_perplexity is not None:
            last_steps["floor"] = valid_step
        self._writers = {}
        for name, last_step in last_steps.items():
            with _user_errors(folder / name):
                drop_events_after(folder / name, last_step, len(epochs))
                self._writers[name] = tf.summary.create_file_writer(str(folder / name))

    def scalars(self, name: str, step: int, values: dict[str, float]) -> None:
        """Writes one point of each tag.

        Args:
          name: "train", "valid" or "floor".
          step: place on the horizontal axis.
          values: tag -> value.
        """
        with (
            _user_errors(self._folder / name),
            self._writers[name].as_default(step=step),
        ):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)

    def epoch(self, epoch: dict[str, float]) -> None:
        """Writes an epoch's perplexities against epochs, and valid's by step."""
        number, step = epoch["epoch"], epoch["step"]
        tag = "epoch/perplexity"
        self.scalars("train", number, {tag: epoch["train_perplexity"]})
        self.scalars("valid", number, {tag: epoch["valid_perplexity"]})
        self.scalars("valid", step, {"step/perplexity": epoch["valid_perplexity"]})
        if self._floor_perplexity is not None:
            self.scalars("floor", number, {tag: self._floor_perplexity})

    def flush(self) -> None:
        """Puts every point on disk; called before each checkpoint."""
        with _user_errors(self._folder):
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """Closes the files."""
        with _user_errors(self._folder):
            for writer in self._writers.values():
                writer.close()


def drop_events_after(folder: pathlib.Path, step: int, epochs: int) -> None:
    """Rewrites a folder's event files without the points after a step.

    Tags that begin with ``epoch/`` are counted in epochs, all others in steps.

    A record cut short at the end of a file, as a killed process leaves it, is
    dropped too.
    """
    (folder / _PENDING).unlink(missing_ok=True)
    for path in sorted(folder.glob("events.out.tfevents.*")):
        records = []
        with contextlib.suppress(tf.errors.DataLossError):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                records.append(record)  # extend() would lose those before the error
        kept = [record for record in records if not _is_late(record, step, epochs)]
        whole_size = sum(len(record) + _FRAME_BYTES for record in kept)
        if whole_size != path.stat().st_size:
            _rewrite(path, kept)


def _is_late(record: bytes, step: int, epochs: int) -> bool:
    """Whether a record is a point after a step, or after a number of epochs."""
    event = tf.compat.v1.Event.FromString(record)
    tags = [value.tag for value in event.summary.value]
    by_epoch = any(tag.startswith("epoch/") for tag in tags)
    return bool(tags) and event.step > (epochs if by_epoch else step)


def _rewrite(path: pathlib.Path, records: list[bytes]) -> None:
    """Replaces an event file's records atomically."""
    pending = path.with_name(_PENDING)
    with tf.io.TFRecordWriter(str(pending)) as writer:
        for record in records:
            writer.write(record)
    with pending.open("rb") as file:
        os.fsync(file.fileno())
    pending.replace(path)
