"""What TensorBoard's HParams table knows of a run.

A session is a run: its folder holds the records made here. The metrics are curves of
that folder or, with a group, of a folder in it, as
`tensorboard.plugins.hparams.summary` says. The table has the last value of each.
"""

import time

from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.hparams import api_pb2, metadata, summary

from ptb_lm.config import Config
from ptb_lm.tensorboard.curves import BEST_VALID, TEST
from ptb_lm.tensorboard.events import RUN, Events
from ptb_lm.tensorboard.observer import Observer

Value = bool | int | float | str

METRICS = [
    hp.Metric("epoch/perplexity", group="valid", display_name="valid perplexity, last"),
    hp.Metric(BEST_VALID, display_name="valid perplexity, best"),
    hp.Metric(TEST, display_name="test perplexity of the best"),
    hp.Metric("epoch/perplexity", display_name="train perplexity, last"),
    hp.Metric("step/tokens_per_second", display_name="tokens/s"),
]
# Columns that the table begins with; of the others, those of "A" come first.
FIRST = {"corpus", "model", "hidden_size", "keep_prob", "tied"}
TYPES = {
    bool: api_pb2.DATA_TYPE_BOOL,
    int: api_pb2.DATA_TYPE_FLOAT64,
    float: api_pb2.DATA_TYPE_FLOAT64,
    str: api_pb2.DATA_TYPE_STRING,
}


class HParams(Observer):
    """A run's row in the table: begun by its first process, ended by its last."""

    def __init__(self, events: Events, values: dict[str, Value], name: str):
        """Begins the session, unless a process before this one did.

        Args:
          events: where to write.
          values: from `columns`.
          name: of the run.
        """
        self._events = events
        if metadata.SESSION_START_INFO_TAG not in events.tags(RUN):
            events.records(RUN, 0, opening_records(values, name))

    def after_training(self, epochs: int) -> None:
        """Tells the table that the run is done."""
        record = summary.session_end_pb(api_pb2.STATUS_SUCCESS).SerializeToString()
        self._events.records(RUN, epochs, [record])


def columns(config: Config, corpus_name: str) -> dict[str, Value]:
    """The options that make a run what it is, and its corpus: name -> value."""
    return {"corpus": corpus_name, **config.run_values()}


def opening_records(values: dict[str, Value], name: str) -> list[bytes]:
    """Summaries that declare the table and begin a session.

    Args:
      values: column -> this run's value.
      name: of the run. The time is added to it, for TensorBoard shows two
        sessions of one name as one row.
    """
    started = time.time()
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
    # Without a domain, for TensorBoard takes the first run's word for all runs.
    infos = [
        api_pb2.HParamInfo(
            name=column, type=TYPES[type(value)], differs=column in FIRST
        )
        for column, value in values.items()
    ]
    metrics = [metric.as_proto() for metric in METRICS]
    table = summary.experiment_pb(infos, metrics)
    session = hp.hparams_pb(values, f"{name} {at}", started)
    return [table.SerializeToString(), session.SerializeToString()]
