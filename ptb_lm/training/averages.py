"""Means of the weights over training steps, which are scored in their place.

Training goes on with the weights themselves. A mean is moved towards them after every
step, in place:

    mean += share * (w - mean)

with share 1 for the first weights that it takes in, which are the mean then.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf

from ptb_lm.config import TrainingConfig
from ptb_lm.runs.results import EpochScores


class Average:
    """A mean of the weights.

    An average is a subclass, which defines `share`, and a line in
    `registry.AVERAGES`. All that it remembers is in `variables`, so that a checkpoint
    holds it.

    Attributes:
      copies: how often it takes the memory of the weights.
      options: options of `TrainingConfig` that this average reads and others may not.
      config: how the run is trained.
      means: the mean of each weight, by name.
      variables: what a checkpoint must hold: the means, and what else is remembered.
    """

    copies: ClassVar[int] = 1
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weights: dict[str, tf.Variable], config: TrainingConfig):
        """Creates the means.

        Args:
          weights: what is averaged, by name.
          config: how the run is trained.
        """
        self.config = config
        self._weights = weights
        self.means: dict[str, tf.Variable] = {
            name: tf.Variable(tf.zeros_like(weight), trainable=False)
            for name, weight in weights.items()
        }
        self.variables: dict[str, tf.Variable] = dict(self.means)

    def is_active(self, step: int) -> bool:
        """Whether the means are what is scored and exported.

        Args:
          step: training steps taken.
        """
        return step > 0

    def after_epoch(self, step: int, history: Sequence[EpochScores]) -> None:
        """Called once an epoch is scored, between two calls of the compiled loop.

        Args:
          step: training steps taken.
          history: what was measured after each epoch so far.
        """

    def update(self, step: tf.Tensor) -> None:
        """Takes the present weights in; a part of the graph of a training step.

        Args:
          step: int64 scalar, the step that made them, 0 for the first.
        """
        self._move(self.share(step + 1))

    def share(self, count: tf.Tensor) -> tf.Tensor:
        """The part of the newest weights in the mean.

        Args:
          count: int64 scalar, how many weights it is made of, these included.

        Returns:
          float64 scalar; 1 where count is 1.
        """
        raise NotImplementedError

    def _move(self, share: tf.Tensor) -> None:
        """Moves the means towards the weights: two passes over them."""
        for name, mean in self.means.items():
            tf.raw_ops.ResourceApplyGradientDescent(
                var=mean.handle,
                alpha=tf.cast(share, tf.float32),
                delta=mean - self._weights[name],
            )


class NoAverage(Average):
    """The weights themselves: nothing is kept and nothing computed."""

    copies = 0

    def __init__(self, weights: dict[str, tf.Variable], config: TrainingConfig):
        """As `Average`."""
        super().__init__({}, config)

    def is_active(self, step: int) -> bool:
        """Never."""
        return False

    def update(self, step: tf.Tensor) -> None:
        """Does nothing."""


class EMA(Average):
    """An exponential moving average from the first step on.

        a = d a + (1 - d) w;  mean = a / (1 - d^t)

    with a from 0 and t from 1 (Kingma and Ba 2015, section 7.2). What is kept is the
    corrected mean itself, which moves by (1 - d) / (1 - d^t).
    """

    options = ("average_decay",)

    def share(self, count: tf.Tensor) -> tf.Tensor:
        """As `Average.share`."""
        decay = tf.constant(self.config.average_decay, tf.float64)
        return (1.0 - decay) / (1.0 - decay ** tf.cast(count, tf.float64))


class NTASGD(Average):
    """The mean of all weights since valid stopped improving (Merity et al. 2017).

    Algorithm 1 with an epoch as logging interval: averaging starts after an epoch
    whose valid perplexity is worse than the best one of more than `nonmonotone`
    epochs before it. Epochs before averaging cost nothing.
    """

    options = ("nonmonotone",)

    def __init__(self, weights: dict[str, tf.Variable], config: TrainingConfig):
        """As `Average`; `start` is the number of steps before the first that counts."""
        super().__init__(weights, config)
        self._start = tf.Variable(np.int64(-1), trainable=False)  # not yet
        self.variables["start"] = self._start

    def is_active(self, step: int) -> bool:
        """Once a step was taken after averaging started."""
        return bool(0 <= self._start.numpy() < step)

    def after_epoch(self, step: int, history: Sequence[EpochScores]) -> None:
        """Starts averaging where it is time to."""
        perplexities = [scores.valid_perplexity for scores in history]
        before = perplexities[: -1 - self.config.nonmonotone]
        if self._start.numpy() < 0 and before and perplexities[-1] > min(before):
            self._start.assign(np.int64(step))

    def update(self, step: tf.Tensor) -> None:
        """As `Average.update`."""
        start = tf.convert_to_tensor(self._start)
        tf.cond(
            start >= 0,
            lambda: self._move_and_return(self.share(step + 1 - start)),
            lambda: tf.constant(False),
        )

    def share(self, count: tf.Tensor) -> tf.Tensor:
        """As `Average.share`."""
        return 1.0 / tf.cast(count, tf.float64)

    def _move_and_return(self, share: tf.Tensor) -> tf.Tensor:
        """A branch of a tf.cond must return something."""
        self._move(share)
        return tf.constant(True)
