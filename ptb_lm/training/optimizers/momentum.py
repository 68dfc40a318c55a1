"""SGD with momentum: a = 0.9 a + g; w -= rate * a (Polyak 1964)."""

import tensorflow as tf

from ptb_lm.training.gradients import Gradient
from ptb_lm.training.optimizers.base import Optimizer

MOMENTUM = 0.9  # as in most papers since Krizhevsky et al. 2012, section 5


class Momentum(Optimizer):
    """Keeps the sum `a` of the gradients so far, each 0.9 times the one after it.

    Every row of an embedding moves at every step, so its gradient must be dense.
    """

    slots = ("momentum",)

    def update(
        self,
        name: str,
        weight: tf.Variable,
        gradient: Gradient,
        rate: tf.Tensor,
        factor: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """As `Optimizer.update`."""
        tf.raw_ops.ResourceApplyMomentum(
            var=weight.handle,
            accum=self.slot(name, "momentum").handle,
            lr=rate,
            grad=gradient * factor,
            momentum=MOMENTUM,
        )
