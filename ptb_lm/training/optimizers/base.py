"""What an optimizer is: a rule that updates one weight, and what it remembers."""

from typing import ClassVar

import tensorflow as tf

from ptb_lm.training.gradients import Gradient


class Optimizer:
    """Updates variables in place, and owns the slots that its rule needs.

    An optimizer is a subclass that defines `update`; the members of the registry
    `OPTIMIZERS` are such classes. Everything that it remembers from step to step must
    be in `variables`, so that a checkpoint holds it.

    Attributes:
      slots: a name for each variable that the rule keeps for every weight. A slot has
        the weight's shape and starts at zero. Each takes as much memory as the weights.
      takes_slices: whether `update` accepts the gradient of an embedding as the rows
        that the step read (`tf.IndexedSlices`). If not, it gets a dense one, which
        takes as much memory as the embedding.
      variables: what a checkpoint must hold, by name: WEIGHT/SLOT. A rule that
        remembers more adds it here, in its constructor.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    takes_slices: ClassVar[bool] = False

    def __init__(self, weights: dict[str, tf.Variable]):
        """Creates the slots.

        Args:
          weights: the weights to update, by name.
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
          factor: float32 scalar that clips: the rule must multiply every gradient by
            it. The rule does so itself, so that it can avoid a copy of the gradients.
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
          name: of the weight, one of `LanguageModel.named_variables`.
          weight: to change in place.
          gradient: not yet multiplied by `factor`.
          rate: as in `apply`.
          factor: as in `apply`.
          step: as in `apply`.
        """
        raise NotImplementedError
