"""All that TensorBoard shows.

Train and valid have a folder, and so a curve, each; tags are the same in both,
so that TensorBoard draws them on one chart.
"""

import pathlib

import tensorflow as tf

from ptb_lm.errors import UserError


class Summaries:
    """Writes the events of one run, going on after a given step.

    Points that an interrupted process wrote after its last checkpoint are
    dropped first, so that a resumed run has none twice.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        step: int,
        epochs: int,
        floor_perplexity: float | None = None,
    ):
        """Opens the writers.

        Args:
          folder: holds the folders train, valid and floor.
          step: points of later steps are dropped.
          epochs: points of later epochs are dropped.
          floor_perplexity: drawn as a curve of its own where it is known.
        """
        self._floor_perplexity = floor_perplexity
        names = ["train", "valid"] + ["floor"] * (floor_perplexity is not None)
        self._writers = {}
        for name in names:
            drop_events_after(folder / name, step, epochs)
            self._writers[name] = tf.summary.create_file_writer(str(folder / name))

    def scalars(self, name: str, step: int, values: dict[str, float]) -> None:
        """Writes one point of each tag.

        Args:
          name: "train", "valid" or "floor".
          step: place on the horizontal axis.
          values: tag -> value.
        """
        with self._writers[name].as_default(step=step):
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
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()


def drop_events_after(folder: pathlib.Path, step: int, epochs: int) -> None:
    """Rewrites a folder's event files without the points after a step.

    Tags that begin with ``epoch/`` are counted in epochs, all others in steps.

    A record cut short at the end of a file, as a killed process leaves it, is
    dropped too.
    """
    for path in sorted(folder.glob("events.out.tfevents.*")):
        kept, dropped = [], False
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                tags = [value.tag for value in event.summary.value]
                by_epoch = any(tag.startswith("epoch/") for tag in tags)
                late = bool(tags) and event.step > (epochs if by_epoch else step)
                dropped |= late
                if not late:
                    kept.append(record)
        except tf.errors.DataLossError:
            dropped = True
        if dropped:
            _rewrite(path, kept)


def _rewrite(path: pathlib.Path, records: list[bytes]) -> None:
    """Replaces an event file's records atomically."""
    pending = path.with_name(f"pending-{path.name}")
    try:
        with tf.io.TFRecordWriter(str(pending)) as writer:
            for record in records:
                writer.write(record)
        pending.replace(path)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{path}: cannot write: {error}") from error
