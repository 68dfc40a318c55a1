"""What an optimizer is: a rule that updates one weight, and what it remembers."""

from typing import ClassVar

import tensorflow as tf

from ptb_lm.config import TrainingConfig
from ptb_lm.training.gradients import Gradient


class Optimizer:
    """Updates variables in place, and owns the slots that its rule needs.

    An optimizer is a subclass that defines `update`; the members of the registry
    `OPTIMIZERS` are such classes. Everything that it remembers from step to step must
    be in `variables`, so that a checkpoint holds it.

    L2 regularization (--l2) is the same for all rules: g + l2 w takes the place of
    the clipped gradient g, for every weight, biases and rows that were not read
    among them, as `weight_decay` of PyTorch's SGD and Adam.

    Attributes:
      slots: a name for each variable that the rule keeps for every weight. A slot has
        the weight's shape and starts at zero. Each takes as much memory as the weights.
      takes_slices: whether `update` accepts the gradient of an embedding as the rows
        that the step read (`tf.IndexedSlices`). If not, it gets a dense one, which
        takes as much memory as the embedding.
      options: options of `TrainingConfig` that this rule reads and others may not.
        To set one has to be an error where no rule reads it.
      config: how the run is trained.
      variables: what a checkpoint must hold, by name: WEIGHT/SLOT. A rule that
        remembers more adds it here, in its constructor.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    takes_slices: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weights: dict[str, tf.Variable], config: TrainingConfig):
        """Creates the slots.

        Args:
          weights: the weights to update, by name.
          config: how the run is trained.
        """
        self.config = config
        self.variables: dict[str, tf.Variable] = {
            f"{name}/{slot}": tf.Variable(tf.zeros_like(weight), trainable=False)
            for name, weight in weights.items()
            for slot in self.slots
        }

    @classmethod
    def needs_dense(cls, config: TrainingConfig) -> bool:
        """Whether the gradient of a table is made dense: L2 moves every row."""
        return not cls.takes_slices or config.l2 > 0

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
        dense, l2 = self.needs_dense(self.config), self.config.l2
        for name, weight in weights.items():
            gradient, scale = gradients[name], factor
            if dense:
                gradient = tf.convert_to_tensor(gradient)
            if l2:
                gradient, scale = factor * gradient + l2 * weight, tf.constant(1.0)
            self.update(name, weight, gradient, rate, scale, step)

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
