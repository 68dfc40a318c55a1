"""What a method of evaluating is, and what it may ask of a model.

The members of the registry `METHODS` make methods: ``METHODS[name](model, config)``.
`Evaluator` drives any of them through a text, window by window. A method may change
or mix what the model says. A token may influence the scores of later tokens only:
score first, then learn.
"""

from typing import Any, Protocol

import tensorflow as tf


class Scorable(Protocol):
    """A model as a method sees it: a `LanguageModel`, or what stands for one.

    Inside, tensors are time-major, as in `LanguageModel`. A method may take gradients
    of what it is given, and change the weights, which `begin` has to put back.
    """

    vocab_size: int

    def named_variables(self) -> dict[str, tf.Variable]:
        """The weights by name; none where they cannot be known."""

    def initial_state(self, batch_size: int | tf.Tensor) -> Any:
        """State before the first token."""

    def embed(self, ids: tf.Tensor) -> tf.Tensor:
        """Inputs of `features`: int32 [time, batch] -> float32 [time, batch, ...]."""

    def features(
        self, embedded: tf.Tensor, state: Any, *, with_gradient: bool = True
    ) -> tuple[tf.Tensor, Any]:
        """What the softmax reads, float32 [time, batch, width], and the state after.

        With with_gradient=False, what only the gradient needs may be spared.
        """

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Unnormalized log-probabilities [time, batch, vocabulary]."""

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """-log p(target) in nats: targets int32 [time, batch] -> float32, the same."""


class Method(Protocol):
    """Scores texts window by window, and carries from one to the next what it needs.

    A method is made of a `Scorable` and the configuration of the command.
    """

    def begin(self, batch_size: int) -> None:
        """Starts new texts, as if there had been none before.

        Args:
          batch_size: texts that are read side by side.
        """

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window of the texts.

        Args:
          inputs: int32 [batch, time], one or more time steps.
          targets: the tokens after these, int32 [batch, time].

        Returns:
          -log p(target) in nats, float32 [batch, time], each given all tokens of its
          text that come before. How a text is cut into windows changes nothing.
        """
