"""TensorBoard's event files.

TensorBoard draws a curve for each folder that has the tag of a chart, and calls it by
the folder's name. So what is measured of the validation text has a folder of its own,
with the tags of the training text: they are on one chart. All else is in the run's
folder: `small-ptb` is the run and its training text, `small-ptb/valid` its validation
text. TensorBoard shows no run until asked when there are more than 40 folders.
"""

import contextlib
import os
import pathlib
import time
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.runs.results import EpochScores
from ptb_lm.system import files

# Parts of a run: folders in its folder. TRAIN is one only in runs of version 0.1, see
# `Events`.
RUN, TRAIN, VALID, FLOOR = ".", "train", "valid", "floor"
_PENDING = "pending"  # not a name that TensorBoard takes for events
_FRAME_BYTES = 16  # of a TFRecord: length, its checksum, the content's checksum
# Tags that begin with one of these are counted in epochs, all others in steps.
_BY_EPOCH = ("epoch/", "summary/", "_hparams_/")


@contextlib.contextmanager
def _user_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns what TensorFlow raises for a file into a UserError."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = files.reason(error)
        raise UserError(f"{path}: cannot read or write events: {reason}") from error


class Events:
    """Writes the events of one run, from a given step on.

    Points that an interrupted process wrote after its last checkpoint are
    dropped first, so that a resumed run has none twice.

    What is of TRAIN goes into the run's folder, unless there is a folder for it
    already: a run that version 0.1 began goes on in its folders.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        step: int,
        epochs: Sequence[EpochScores],
        parts: Collection[str],
        dropped: Collection[str] = (),
    ):
        """Opens the writers.

        Args:
          folder: of the run; holds a folder for some of the parts.
          step: points of later steps are dropped.
          epochs: the epochs that are done; points of later epochs are dropped.
          parts: what will be written: RUN, TRAIN, VALID, FLOOR.
          dropped: tags of which every point is dropped.
        """
        self._folder = folder
        self._train = TRAIN if (folder / TRAIN).is_dir() else RUN
        self._tags: dict[pathlib.Path, set[str]] = {}
        self._writers: dict[pathlib.Path, tf.summary.SummaryWriter] = {}
        places = dict.fromkeys(map(self._place, parts))
        for place in places:
            with _user_errors(place):
                keep_in_order(place)
        # An epoch's last step can be in a checkpoint without its valid score.
        valid_step = epochs[-1].step if epochs else 0
        of_epochs = [self._place(part) for part in (VALID, FLOOR)]
        for place in places:
            last_step = valid_step if place in of_epochs else step
            with _user_errors(place):
                self._tags[place] = drop_events_after(
                    place, last_step, len(epochs), dropped
                )
                self._writers[place] = tf.summary.create_file_writer(str(place))

    def tags(self, part: str) -> set[str]:
        """The tags of the events that were there, in a part."""
        return self._tags[self._place(part)]

    def _place(self, part: str) -> pathlib.Path:
        """The folder of a part."""
        return self._folder / (self._train if part == TRAIN else part)

    def scalars(self, part: str, step: int, values: dict[str, float]) -> None:
        """Writes one point of each tag.

        Args:
          part: one of those that were opened.
          step: place on the horizontal axis: a step or, where the tags begin with
            ``epoch/``, an epoch.
          values: tag -> value.
        """
        with self._at(part, step):
            for tag, value in values.items():
                tf.summary.scalar(tag, np.asarray(value, np.float32))

    def histograms(self, part: str, step: int, values: dict[str, tf.Tensor]) -> None:
        """Writes the distribution of each tag's values."""
        with self._at(part, step):
            for tag, value in values.items():
                tf.summary.histogram(tag, value)

    def text(self, part: str, step: int, tag: str, markdown: str) -> None:
        """Writes a text."""
        with self._at(part, step):
            tf.summary.text(tag, markdown)

    def records(self, part: str, step: int, records: list[bytes]) -> None:
        """Writes summaries that are made already."""
        with self._at(part, step):
            for record in records:
                tf.summary.experimental.write_raw_pb(record)

    @contextlib.contextmanager
    def _at(self, part: str, step: int) -> Iterator[None]:
        """Has a part's writer take what is written, at a step."""
        folder = self._place(part)
        writer = self._writers[folder]
        # TensorFlow keeps a tensor of every Python number that it is ever given, but
        # not of NumPy's.
        with _user_errors(folder), writer.as_default(step=np.asarray(step, np.int64)):
            yield

    def flush(self) -> None:
        """Puts every point on disk."""
        with _user_errors(self._folder):
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """Closes the files."""
        with _user_errors(self._folder):
            for writer in self._writers.values():
                writer.close()


def keep_in_order(folder: pathlib.Path) -> None:
    """Renames event files so that the next one comes after all of them.

    TensorBoard reads the files of a folder in the order of their names, which begin
    with the second in which each was made. Where the clock was set back, or two
    processes began in one second, the points of a later file would come first.

    Args:
      folder: holds the files.
    """
    next_second = int(time.time())
    for path in sorted(folder.glob("events.out.tfevents.*"), reverse=True):
        *begin, second, rest = path.name.split(".", 4)
        if not second.isdigit():
            continue
        if int(second) >= next_second:
            second = str(next_second - 1)
            path.rename(path.with_name(".".join([*begin, second, rest])))
        next_second = int(second)


def drop_events_after(
    folder: pathlib.Path, step: int, epochs: int, dropped: Collection[str] = ()
) -> set[str]:
    """Rewrites a folder's event files without the points after a step.

    A record cut short at the end of a file, as a killed process leaves it, is
    dropped too.

    Args:
      folder: holds the files.
      step: points of later steps are dropped.
      epochs: so are those of later epochs, where a tag is counted in epochs.
      dropped: and so are all of these tags.

    Returns:
      The tags that are left.
    """
    (folder / _PENDING).unlink(missing_ok=True)
    tags: set[str] = set()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        records = []
        with contextlib.suppress(tf.errors.DataLossError):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                records.append(record)  # extend() would lose those before the error
        kept = []
        for record in records:
            event = tf.compat.v1.Event.FromString(record)
            its_tags = {value.tag for value in event.summary.value}
            if its_tags.isdisjoint(dropped) and not _is_late(event, step, epochs):
                kept.append(record)
                tags |= its_tags
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
