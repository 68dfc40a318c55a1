"""The plain method: the model's own probabilities, with its state carried along."""

from typing import Any

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.evaluation.method import Scorable


class Plain:
    """Scores each token with the model as it is.

    Attributes:
      state, state_rounding: see `FeatureMethod`.
    """

    def __init__(self, model: Scorable, config: Config):
        """Compiles the scoring of a window.

        Args:
          model: each window is scored with its present weights.
          config: not used; the constructor of every method takes it.
        """
        self._model = model
        self.state: Any = None
        # A model that pads its batch, or an export, promises bits.
        self.state_rounding: float | None = getattr(model, "state_rounding", None)
        self._score_window = tf.function(
            self._score_window_eagerly, autograph=False, reduce_retracing=True
        )
        self._read_window = tf.function(
            self._read_window_eagerly, autograph=False, reduce_retracing=True
        )

    def begin(self, batch_size: int) -> None:
        """Starts new texts from a zero state, see `Method`."""
        self.state = self._model.initial_state(batch_size)

    def end(self) -> None:
        """Does nothing: no weight was changed."""

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window, see `Method`."""
        return self.follow(self.read(inputs, targets))

    def read(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Nats of the next window, see `StatefulMethod`."""
        nats, _ = self.score_with_features(inputs, targets)
        return nats

    def follow(self, read: tf.Tensor) -> tf.Tensor:
        """The same nats, see `StatefulMethod`."""
        return read

    def score_with_features(
        self, inputs: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores the next window, see `FeatureMethod`."""
        nats, features, self.state = self._score_window(inputs, targets, self.state)
        return nats, features

    def log_distributions(self, inputs: tf.Tensor) -> tf.Tensor:
        """Reads the next window, see `DistributionMethod`."""
        logs, self.state = self._read_window(inputs, self.state)
        return logs

    def _read_window_eagerly(
        self, inputs: tf.Tensor, state: Any
    ) -> tuple[tf.Tensor, Any]:
        """[batch, time] ids and the state -> (log-probabilities, state)."""
        model = self._model
        embedded = model.embed(tf.transpose(inputs))
        features, state = model.features(embedded, state, with_gradient=False)
        logs = tf.nn.log_softmax(model.logits(features)[:, : tf.shape(inputs)[0]])
        return tf.transpose(logs, [1, 0, 2]), state

    def _score_window_eagerly(
        self, inputs: tf.Tensor, targets: tf.Tensor, state: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """[batch, time] ids and the state -> (nats, features, state)."""
        return score_window(self._model, inputs, targets, state, with_gradient=False)


def score_window(
    model: Scorable,
    inputs: tf.Tensor,
    targets: tf.Tensor,
    state: Any,
    *,
    with_gradient: bool,
) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """Scores a window of texts, once.

    Args:
      model: any.
      inputs: int32 [batch, time].
      targets: the token after each of these, int32 [batch, time].
      state: before the window.
      with_gradient: see `Scorable.features`.

    Returns:
      -log p(target) in nats, float32 [batch, time]; the inputs of the softmax, float32
      [batch, time, width]; and the state after the window.
    """
    features, state = model.features(
        model.embed(tf.transpose(inputs)), state, with_gradient=with_gradient
    )
    nats = tf.transpose(model.token_nats(features, tf.transpose(targets)))
    of_texts = tf.transpose(features[:, : tf.shape(inputs)[0]], [1, 0, 2])
    return nats, of_texts, state
