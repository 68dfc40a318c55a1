"""Gradient clipping, update rules and the learning-rate schedule.

The updates work in place: clipping is one pass for the norm, and its factor is
applied inside the update rather than to a copy of the gradients.
"""

from collections.abc import Sequence

import tensorflow as tf

from ptb_lm.config import TrainingConfig

Gradient = tf.Tensor | tf.IndexedSlices

MOMENTUM = 0.9
ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015


def learning_rate(config: TrainingConfig, epoch: int) -> float:
    """The PTB tutorial's schedule, in the form that the configuration names.

    Args:
      config: schedule, learning_rate, lr_decay and max_epoch are read.
      epoch: from 0.

    Returns:
      learning_rate * lr_decay ** max(epoch - max_epoch, 0) for "zaremba", with
      which the published perplexities were measured; with epoch + 1 in place of
      epoch for "tutorial", the later form of the tutorial.
    """
    first = {"zaremba": config.max_epoch, "tutorial": config.max_epoch - 1}
    return config.learning_rate * config.lr_decay ** max(
        epoch - first[config.schedule], 0
    )


def deduplicate(ids: tf.Tensor, rows: tf.Tensor, table_rows: int) -> tf.IndexedSlices:
    """Gradient of a table of which the rows `ids` were read.

    Args:
      ids: int32 [n], with repetitions.
      rows: float32 [n, width], the gradient of each row that was read.
      table_rows: number of rows of the table.

    Returns:
      The same gradient with every id once, its rows added up.
    """
    unique, position = tf.unique(ids)
    summed = tf.math.unsorted_segment_sum(rows, position, tf.size(unique))
    shape = tf.constant([table_rows, rows.shape[1]])
    return tf.IndexedSlices(summed, unique, shape)


def global_norm(gradients: Sequence[Gradient]) -> tf.Tensor:
    """Euclidean norm of all gradients together; slices must have unique ids."""
    dense = [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    return tf.sqrt(2.0 * tf.add_n([tf.nn.l2_loss(gradient) for gradient in dense]))


def clip_factor(norm: tf.Tensor, max_norm: float) -> tf.Tensor:
    """The factor that scales gradients of this global norm down to max_norm."""
    return max_norm / tf.maximum(norm, max_norm)


class Optimizer:
    """Updates variables in place, with slot variables that are checkpointed.

    sgd: v -= lr g. momentum: a = 0.9 a + g, v -= lr a. adam: Kingma and Ba
    (2015), algorithm 1, in TensorFlow's form (epsilon outside the correction).
    """

    def __init__(self, rule: str, variables: dict[str, tf.Variable]):
        """Creates zero slots for the variables, which are named."""
        slot_names = {"sgd": (), "momentum": ("momentum",), "adam": ("m", "v")}
        self._rule = rule
        self._slots = {
            name: [
                tf.Variable(tf.zeros_like(variable), trainable=False)
                for _ in slot_names[rule]
            ]
            for name, variable in variables.items()
        }
        self.slots = {
            f"{name}/{slot_name}": slot
            for name, slots in self._slots.items()
            for slot_name, slot in zip(slot_names[rule], slots, strict=True)
        }

    def apply(
        self,
        gradients: dict[str, Gradient],
        variables: dict[str, tf.Variable],
        rate: tf.Tensor,
        factor: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """Takes one step.

        Args:
          gradients: by variable name; slices must have unique ids.
          variables: by name.
          rate: learning rate, float32 scalar.
          factor: what every gradient is multiplied by first (clipping).
          step: int64 scalar, 0 for the first step.
        """
        for name, variable in variables.items():
            gradient = gradients[name]
            if self._rule == "sgd":
                self._sgd(variable, gradient, rate * factor)
                continue
            gradient = tf.convert_to_tensor(gradient) * factor
            if self._rule == "momentum":
                self._momentum(variable, gradient, rate, *self._slots[name])
            else:
                self._adam(variable, gradient, rate, step, *self._slots[name])

    @staticmethod
    def _sgd(variable, gradient, rate):
        if isinstance(gradient, tf.IndexedSlices):
            tf.raw_ops.ResourceScatterSub(
                resource=variable.handle,
                indices=gradient.indices,
                updates=rate * gradient.values,
            )
        else:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=variable.handle, alpha=rate, delta=gradient
            )

    @staticmethod
    def _momentum(variable, gradient, rate, accumulator):
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=accumulator.handle,
            lr=rate,
            grad=gradient,
            momentum=MOMENTUM,
        )

    @staticmethod
    def _adam(variable, gradient, rate, step, first_moment, second_moment):
        count = tf.cast(step + 1, tf.float64)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first_moment.handle,
            v=second_moment.handle,
            beta1_power=tf.cast(ADAM_BETA1**count, tf.float32),
            beta2_power=tf.cast(ADAM_BETA2**count, tf.float32),
            lr=rate,
            beta1=ADAM_BETA1,
            beta2=ADAM_BETA2,
            epsilon=ADAM_EPSILON,
            grad=gradient,
        )
