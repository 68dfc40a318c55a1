"""What an optimizer is: a rule that changes one variable, and what it remembers."""

from typing import ClassVar

import tensorflow as tf

from ptb_lm.training.gradients import Gradient


class Optimizer:
    """Updates variables in place, and owns the slots that its rule needs.

    An optimizer is a subclass in a file of its own, which defines `update`, and a
    line in `registry.OPTIMIZERS`. All that it remembers from step to step is in
    `variables`, so that a checkpoint holds it.

    Attributes:
      slots: a name for each variable that the rule keeps beside every weight, of the
        weight's shape, zero at first. Each takes as much memory as the weights.
      takes_slices: whether `update` takes the gradient of a table as the rows that
        were read (`tf.IndexedSlices`). If not, it gets a dense one, which takes
        as much memory as the table.
      variables: what a checkpoint must hold, by name: WEIGHT/SLOT. A rule that
        remembers more adds it here.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    takes_slices: ClassVar[bool] = False

    def __init__(self, weights: dict[str, tf.Variable]):
        """Creates the slots.

        Args:
          weights: what will be updated, by name.
        """
        self.variables: dict[str, tf.Variable] = {
            f"{name}/{slot}": tf.Variable(tf.zeros_like(weight), trainable=False)
            for name, weight in weights.items()
            for slot in self.slots
        }

    def slot(self, name: str, slot: str) -> tf.Variable:
        """The slot of a weight; KeyError where the rule has none of that name."""
        return self.variables[f"{name}/{slot}"]

    def apply(
        self,
        gradients: dict[str, Gradient],
        weights: dict[str, tf.Variable],
        rate: tf.Tensor,
        factor: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """Takes one step.

        Args:
          gradients: by weight; slices must have unique ids.
          weights: by name.
          rate: learning rate, float32 scalar.
          factor: what every gradient is to be multiplied by first (clipping),
            float32 scalar. The rule does that, so that no copy of the gradients is
            made where it can be avoided.
          step: int64 scalar, 0 for the first step.
        """
        for name, weight in weights.items():
            gradient = gradients[name]
            if not self.takes_slices:
                gradient = tf.convert_to_tensor(gradient)
            self.update(name, weight, gradient, rate, factor, step)

    def update(
        self,
        name: str,
        weight: tf.Variable,
        gradient: Gradient,
        rate: tf.Tensor,
        factor: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """Changes one weight and its slots.

        Args:
          name: of the weight, as `LanguageModel.named_variables` has it.
          weight: what is changed in place.
          gradient: not yet multiplied by `factor`.
          rate: as in `apply`, like all that follows.
          factor: as in `apply`.
          step: as in `apply`.
        """
        raise NotImplementedError
