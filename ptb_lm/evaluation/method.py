"""What an evaluation method is, and what it may ask of a model.

The members of the registry `METHODS` are classes; ``METHODS[name](model, config)`` is a
method. `Evaluator` gives it a text, window by window. A method may change the model's
probabilities, or mix them with others. A token may influence the scores of later tokens
only: score first, then learn.
"""

from typing import Any, Protocol

import tensorflow as tf

EMBEDDING = "embedding"  # name of the weight whose rows `Scorable.embed` reads


class Scorable(Protocol):
    """A model as a method sees it.

    It is a `LanguageModel`; or, in ``--mode=score``, a `RowIndependent`, which pads the
    batch; or an `Exported`, which has no weights. Tensors are time-major, as in
    `LanguageModel`. A method may take gradients of what it is given, and change the
    weights, which `end` has to put back.
    """

    vocab_size: int

    def named_variables(self) -> dict[str, tf.Variable]:
        """The weights by name; none where they cannot be known."""

    def initial_state(self, batch_size: int | tf.Tensor) -> Any:
        """State before the first token."""

    def embed(self, ids: tf.Tensor) -> tf.Tensor:
        """Inputs of `features`: int32 [time, batch] -> float32 [time, batch, ...].

        If the weights are known, these are rows of the weight EMBEDDING.
        """

    def features(
        self, embedded: tf.Tensor, state: Any, *, with_gradient: bool = True
    ) -> tuple[tf.Tensor, Any]:
        """The inputs of the softmax, float32 [time, rows, width], and the next state.

        There may be more rows than the batch has; those after it are padding.
        With with_gradient=False, it may spare what only the gradient needs.
        """

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Unnormalized log-probabilities [time, rows, vocabulary], padding included."""

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """-log p(target) in nats: targets int32 [time, batch] -> float32, the same."""


class Method(Protocol):
    """Scores texts window by window, and keeps what it needs from one to the next.

    The constructor takes a `Scorable` and the `Config` of the command.
    """

    def begin(self, batch_size: int) -> None:
        """Starts new texts, and forgets everything about earlier ones.

        Args:
          batch_size: number of texts that are read in parallel.
        """

    def end(self) -> None:
        """Ends the texts that `begin` started: puts back weights that it changed."""

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window of the texts.

        Args:
          inputs: int32 [batch, time], one or more time steps.
          targets: the token after each of these, int32 [batch, time].

        Returns:
          -log p(target) in nats, float32 [batch, time], each given all earlier tokens
          of its text. The result must not depend on how a text is cut into windows.
        """


class FeatureMethod(Method, Protocol):
    """A method that also says what the softmax read, for methods built on it.

    Attributes:
      state: of the network, before the next window: tensors [batch, ...], nested.
      state_rounding: how far apart two states may be by rounding alone, as
        `rows.distance` measures it. None: unknown, or the scores depend on more of the
        text than the state.
    """

    state: Any
    state_rounding: float | None

    def score_with_features(
        self, inputs: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores the next window, as `Method.score`.

        Returns:
          The nats, and the inputs of the softmax, float32 [batch, time, width].
        """


class DistributionMethod(Method, Protocol):
    """A method that can say the probability of every token."""

    def log_distributions(self, inputs: tf.Tensor) -> tf.Tensor:
        """Reads the next window, in place of `Method.score`.

        Args:
          inputs: int32 [batch, time].

        Returns:
          Log-probabilities of all tokens, float32 [batch, time, vocabulary].
        """
