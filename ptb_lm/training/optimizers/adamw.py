"""AdamW (Loshchilov and Hutter 2019, algorithm 2): decoupled weight decay.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    w -= rate * ((m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
                 + weight_decay w)

with t from 1. Two things are as in PyTorch's AdamW, so that its recipes can be used as
they are: epsilon is added after the correction, as in algorithms 1 of Kingma and Ba
(2015) and 2; and the decay is multiplied by the whole learning rate, of which the
paper's schedule multiplier is only a part.
"""

import tensorflow as tf

from ptb_lm.training.gradients import Gradient
from ptb_lm.training.optimizers.adam import Adam


class AdamW(Adam):
    """Takes a share off every weight, biases too, beside Adam's step."""

    options = (*Adam.options, "weight_decay")

    def update(
        self,
        name: str,
        weight: tf.Variable,
        gradient: Gradient,
        rate: tf.Tensor,
        factor: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """As `Optimizer.update`; Adam's step does not read the weight."""
        if self.config.weight_decay:
            tf.raw_ops.AssignVariableOp(
                resource=weight.handle,
                value=weight * (1.0 - rate * self.config.weight_decay),
            )
        super().update(name, weight, gradient, rate, factor, step)

    def epsilon(self, beta2_power: tf.Tensor) -> tf.Tensor:
        """As `Adam.epsilon`: of a number that is yet to be corrected like the root."""
        exact = self.config.adam_epsilon * tf.sqrt(1.0 - beta2_power)
        return tf.cast(exact, tf.float32)
