"""Distributions of weights and gradients, for TensorBoard's Histograms page."""

from collections.abc import Callable

import tensorflow as tf

from ptb_lm.tensorboard.events import TRAIN, Events
from ptb_lm.tensorboard.observer import Observer


class Histograms(Observer):
    """Writes the weights, and the gradients of the next step, at intervals.

    The gradient of a weight stands beside it, in the last group of charts.
    """

    def __init__(
        self,
        events: Events,
        every: int,
        weights: dict[str, tf.Variable],
        gradients: Callable[[], dict[str, tf.Tensor]],
    ):
        """Takes what to show.

        Args:
          events: where to write.
          every: training steps between two points, at least 1.
          weights: by name.
          gradients: gives those of the next step, by the same names; none after
            the last step of an epoch.
        """
        self._events, self._every = events, every
        self._weights, self._gradients = weights, gradients

    def steps_to_next(self, step: int) -> int:
        """Steps until the next point."""
        return self._every - step % self._every

    def after_steps(self, step: int) -> None:
        """Writes a point where it is due."""
        if step % self._every == 0:
            values = {f"weights/{n}": value for n, value in self._weights.items()}
            gradients = self._gradients().items()
            values |= {f"weights/{n}/gradient": value for n, value in gradients}
            self._events.histograms(TRAIN, step, values)
