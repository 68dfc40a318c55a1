"""The curves on TensorBoard's Time Series page.

TensorBoard orders the groups of charts by name: `epoch`, `step`, then `summary` and, of
histograms, `weights`.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from ptb_lm.runs.results import EpochScores, Results
from ptb_lm.tensorboard.events import FLOOR, RUN, TRAIN, VALID, Events
from ptb_lm.tensorboard.observer import Interval, Observer

BEST_VALID, TEST = "summary/best_valid_perplexity", "summary/test_perplexity"


class Curves(Observer):
    """What is measured of steps and of epochs, and the floor of the corpus.

    Tags are the same for the training and the validation text, so that TensorBoard
    draws both on one chart.
    """

    def __init__(
        self,
        events: Events,
        floor_perplexity: float | None,
        epochs: Sequence[EpochScores],
    ):
        """Takes where to write.

        Args:
          events: the files.
          floor_perplexity: drawn where it is known.
          epochs: those that are done.
        """
        self._events, self._floor_perplexity = events, floor_perplexity
        self._valid = [scores.valid_perplexity for scores in epochs]

    def after_interval(self, interval: Interval) -> None:
        """Writes a point of every curve over steps."""
        values = dataclasses.asdict(interval)
        step = values.pop("step")
        points = {f"step/{name}": value for name, value in values.items()}
        self._events.scalars(TRAIN, step, points)

    def after_epoch(self, scores: EpochScores) -> None:
        """Writes an epoch's perplexities against epochs, and valid's by step."""
        train, valid = scores.train_perplexity, scores.valid_perplexity
        self._valid.append(valid)
        tag, number = "epoch/perplexity", scores.epoch
        self._events.scalars(TRAIN, number, {tag: train})
        self._events.scalars(VALID, number, {tag: valid})
        self._events.scalars(VALID, scores.step, {"step/perplexity": valid})
        self._events.scalars(RUN, number, {BEST_VALID: min(self._valid)})
        if self._floor_perplexity is not None:
            self._events.scalars(FLOOR, number, {tag: self._floor_perplexity})


def write_test_score(folder: pathlib.Path, results: Results) -> None:
    """Writes the test perplexity of the best weights, unless it is there.

    Args:
      folder: of a run whose training has ended.
      results: with the scores of the best weights.

    Raises:
      UserError: the events cannot be read or written.
    """
    assert results.best_weights is not None
    last = results.epochs[-1]
    events = Events(folder, last.step, results.epochs, (RUN,))
    if TEST not in events.tags(RUN):
        events.scalars(RUN, last.epoch, {TEST: results.best_weights.test_perplexity})
    events.close()
