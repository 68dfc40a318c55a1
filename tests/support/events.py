"""What TensorBoard would read of a run."""

import pathlib

import tensorflow as tf

from ptb_lm.runs.results import EpochScores


def event_files(folder):
    """What TensorBoard takes for event files: any name with "tfevents" in it."""
    return sorted(p for p in pathlib.Path(folder).rglob("*") if "tfevents" in p.name)


def read_points(folder):
    """All points in a folder: (its part, tag) -> [(step, value)], sorted.

    What is said of HParams is in a record's metadata, and so has a step only.
    """
    points = {}
    for path in event_files(folder):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                key = str(path.parent.relative_to(folder)), value.tag
                content = tf.make_ndarray(value.tensor).ravel().tolist()
                points.setdefault(key, []).append((event.step, *content))
    return {key: sorted(values) for key, values in points.items()}


def scores_of(number, step=None):
    """What might be measured of an epoch."""
    return EpochScores(
        epoch=number,
        step=4 * number if step is None else step,
        learning_rate=1.0,
        train_perplexity=10.0 / number,
        valid_perplexity=20.0 / number,
        tokens_per_second=100.0,
    )


class RecordedEvents:
    """In the place of `Events`: keeps what is written as (kind, arguments)."""

    def __init__(self):
        self.written = []

    def __getattr__(self, kind):
        return lambda *arguments: self.written.append((kind, *arguments))
