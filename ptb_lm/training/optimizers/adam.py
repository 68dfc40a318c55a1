"""Adam (Kingma and Ba 2015, algorithm 1), in TensorFlow's form.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    w -= rate * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)

with t from 1. Algorithm 1 adds its epsilon to the square root of the corrected v;
here, as in the remark below it (section 2), epsilon is added before the correction.
`adamw` has algorithm 1's own form.
"""

from typing import ClassVar

import tensorflow as tf

from ptb_lm.training.gradients import Gradient
from ptb_lm.training.optimizers.base import Optimizer


class Adam(Optimizer):
    """Keeps both moments of every gradient.

    Moments fade at every step, also those of rows that were not read, so that the
    embedding's gradient must be dense.
    """

    slots = ("m", "v")
    options: ClassVar[tuple[str, ...]] = ("adam_beta1", "adam_beta2", "adam_epsilon")

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
        beta1, beta2 = self.config.adam_beta1, self.config.adam_beta2
        count = tf.cast(step + 1, tf.float64)
        beta2_power = beta2**count
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle,
            m=self.slot(name, "m").handle,
            v=self.slot(name, "v").handle,
            beta1_power=tf.cast(beta1**count, tf.float32),
            beta2_power=tf.cast(beta2_power, tf.float32),
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=self.epsilon(beta2_power),
            grad=gradient * factor,
        )

    def epsilon(self, beta2_power: tf.Tensor) -> tf.Tensor | float:
        """What is added to the root of the uncorrected v.

        Args:
          beta2_power: beta2^t, float64 scalar.
        """
        return self.config.adam_epsilon
