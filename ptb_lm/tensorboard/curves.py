"""The curves on TensorBoard's Scalars page."""

import dataclasses

from ptb_lm.runs.results import EpochScores
from ptb_lm.tensorboard.events import FLOOR, TRAIN, VALID, Events
from ptb_lm.tensorboard.observer import Interval, Observer


class Curves(Observer):
    """What is measured of steps and of epochs, and the floor of the corpus.

    Tags are the same in every part, so that TensorBoard draws train and valid on one
    chart.
    """

    def __init__(self, events: Events, floor_perplexity: float | None):
        """Takes where to write; `floor_perplexity` is drawn where it is known."""
        self._events, self._floor_perplexity = events, floor_perplexity

    def after_interval(self, interval: Interval) -> None:
        """Writes a point of every curve over steps."""
        values = dataclasses.asdict(interval)
        step = values.pop("step")
        points = {f"step/{name}": value for name, value in values.items()}
        self._events.scalars(TRAIN, step, points)

    def after_epoch(self, scores: EpochScores) -> None:
        """Writes an epoch's perplexities against epochs, and valid's by step."""
        train, valid = scores.train_perplexity, scores.valid_perplexity
        tag, number = "epoch/perplexity", scores.epoch
        self._events.scalars(TRAIN, number, {tag: train})
        self._events.scalars(VALID, number, {tag: valid})
        self._events.scalars(VALID, scores.step, {"step/perplexity": valid})
        if self._floor_perplexity is not None:
            self._events.scalars(FLOOR, number, {tag: self._floor_perplexity})
