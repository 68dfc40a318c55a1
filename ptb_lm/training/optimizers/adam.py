"""Adam (Kingma and Ba 2015, algorithm 1), in TensorFlow's form.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    w -= rate * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)

with t from 1. Algorithm 1 adds its epsilon to the square root of the corrected v;
here, as in the remark below it (section 2), epsilon is added before the correction.
"""

import tensorflow as tf

from ptb_lm.training.gradients import Gradient
from ptb_lm.training.optimizers.base import Optimizer

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015, algorithm 1


class Adam(Optimizer):
    """Keeps both moments of every gradient.

    Moments fade at every step, also those of rows that were not read, so that the
    embedding's gradient must be dense.
    """

    slots = ("m", "v")

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
        count = tf.cast(step + 1, tf.float64)
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle,
            m=self.slot(name, "m").handle,
            v=self.slot(name, "v").handle,
            beta1_power=tf.cast(BETA1**count, tf.float32),
            beta2_power=tf.cast(BETA2**count, tf.float32),
            lr=rate,
            beta1=BETA1,
            beta2=BETA2,
            epsilon=EPSILON,
            grad=gradient * factor,
        )
