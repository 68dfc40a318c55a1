"""Stochastic gradient descent: w -= rate * g."""

import tensorflow as tf

from ptb_lm.training.gradients import Gradient
from ptb_lm.training.optimizers.base import Optimizer


class SGD(Optimizer):
    """Remembers nothing; of an untied embedding, it changes only the rows read."""

    takes_slices = True

    def update(
        self,
        name: str,
        weight: tf.Variable,
        gradient: Gradient,
        rate: tf.Tensor,
        factor: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """As `Optimizer.update`; clipping is part of the rate here."""
        if isinstance(gradient, tf.IndexedSlices):
            tf.raw_ops.ResourceScatterSub(
                resource=weight.handle,
                indices=gradient.indices,
                updates=rate * factor * gradient.values,
            )
        else:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=weight.handle, alpha=rate * factor, delta=gradient
            )
