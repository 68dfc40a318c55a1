"""TensorBoard's event files.

Train and valid have a folder, and so a curve, each; tags are the same in both,
so that TensorBoard draws them on one chart. What is of the run as a whole is in
the run's own folder. TensorBoard's names are these folders': small-ptb,
small-ptb/train, small-ptb/valid.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.system import files
from ptb_lm.tensorboard import hparams

RUN = "."  # the folder of what is neither train's nor valid's
_PENDING = "pending"  # not a name that TensorBoard takes for events
_FRAME_BYTES = 16  # of a TFRecord: length, its checksum, the content's checksum
# Tags that begin with one of these are counted in epochs, all others in steps.
_BY_EPOCH = ("epoch/", hparams.TAG_PREFIX)


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
        columns: dict[str, hparams.Value] | None = None,
    ):
        """Opens the writers.

        Args:
          folder: of the run; holds the folders train, valid and floor.
          step: points of later steps are dropped.
          epochs: the epochs that are done, each with its last "step"; points of
            later epochs are dropped.
          floor_perplexity: drawn as a curve of its own where it is known.
          columns: what the HParams table shows of the run.
        """
        self._folder = folder
        self._floor_perplexity = floor_perplexity
        # An epoch's last step can be in a checkpoint without its valid score.
        valid_step = epochs[-1]["step"] if epochs else 0
        last_steps = {RUN: step, "train": step, "valid": valid_step}
        if floor_perplexity is not None:
            last_steps["floor"] = valid_step
        self._writers, tags = {}, {}
        for name, last_step in last_steps.items():
            with _user_errors(folder / name):
                tags[name] = drop_events_after(folder / name, last_step, len(epochs))
                self._writers[name] = tf.summary.create_file_writer(str(folder / name))
        if hparams.START_TAG not in tags[RUN]:
            name = folder.resolve().name
            self._write(hparams.opening_records(columns or {}, name), epoch=0)

    def scalars(self, name: str, step: int, values: dict[str, float]) -> None:
        """Writes one point of each tag.

        Args:
          name: "train", "valid" or "floor".
          step: place on the horizontal axis.
          values: tag -> value.
        """
        with self._at(name, step):
            for tag, value in values.items():
                tf.summary.scalar(tag, np.asarray(value, np.float32))

    def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Writes the distribution of each tag's values."""
        with self._at("train", step):
            for tag, value in values.items():
                tf.summary.histogram(tag, value)

    def text(self, epoch: int, tag: str, markdown: str) -> None:
        """Writes a text; the tag begins with ``epoch/``."""
        with self._at(RUN, epoch):
            tf.summary.text(tag, markdown)

    def epoch(self, epoch: dict[str, float]) -> None:
        """Writes an epoch's perplexities against epochs, and valid's by step."""
        number, step = epoch["epoch"], epoch["step"]
        tag = "epoch/perplexity"
        self.scalars("train", number, {tag: epoch["train_perplexity"]})
        self.scalars("valid", number, {tag: epoch["valid_perplexity"]})
        self.scalars("valid", step, {"step/perplexity": epoch["valid_perplexity"]})
        if self._floor_perplexity is not None:
            self.scalars("floor", number, {tag: self._floor_perplexity})

    def end_session(self, epoch: int) -> None:
        """Tells the HParams table that the run is done, after so many epochs."""
        self._write([hparams.closing_record()], epoch)

    def _write(self, records: list[bytes], epoch: int) -> None:
        """Writes summaries that are made already."""
        with self._at(RUN, epoch):
            for record in records:
                tf.summary.experimental.write_raw_pb(record)

    @contextlib.contextmanager
    def _at(self, name: str, step: int) -> Iterator[None]:
        """Has a folder's writer take what is written, at a step."""
        folder, writer = self._folder / name, self._writers[name]
        # TensorFlow keeps a tensor of every Python number that it is ever given, but
        # not of NumPy's.
        step = np.asarray(step, np.int64)
        with _user_errors(folder), writer.as_default(step=step):
            yield

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


def drop_events_after(folder: pathlib.Path, step: int, epochs: int) -> set[str]:
    """Rewrites a folder's event files without the points after a step.

    A record cut short at the end of a file, as a killed process leaves it, is
    dropped too.

    Args:
      folder: holds the files.
      step: points of later steps are dropped.
      epochs: so are those of later epochs, where a tag is counted in epochs.

    Returns:
      The tags that are left.
    """
    (folder / _PENDING).unlink(missing_ok=True)
    tags = set()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        records = []
        with contextlib.suppress(tf.errors.DataLossError):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                records.append(record)  # extend() would lose those before the error
        kept = []
        for record in records:
            event = tf.compat.v1.Event.FromString(record)
            if not _is_late(event, step, epochs):
                kept.append(record)
                tags.update(value.tag for value in event.summary.value)
        whole_size = sum(len(record) + _FRAME_BYTES for record in kept)
        if whole_size != path.stat().st_size:
            _rewrite(path, kept)
    return tags


def _is_late(event: tf.compat.v1.Event, step: int, epochs: int) -> bool:
    """Whether an event is a point after a step, or after a number of epochs."""
    tags = [value.tag for value in event.summary.value]
    by_epoch = any(tag.startswith(_BY_EPOCH) for tag in tags)
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
