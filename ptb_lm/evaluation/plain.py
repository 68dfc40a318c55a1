"""The plain method: the model's own probabilities, with its state carried along."""

from typing import Any

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.evaluation.method import Scorable


class Plain:
    """Scores each token with the model as it is."""

    def __init__(self, model: Scorable, config: Config):
        """Compiles the scoring of a window.

        Args:
          model: each window is scored with its present weights.
          config: not used; the constructor of every method takes it.
        """
        self._model = model
        self._state: Any = None
        self._score_window = tf.function(
            self._score_window_eagerly, autograph=False, reduce_retracing=True
        )

    def begin(self, batch_size: int) -> None:
        """Starts new texts from a zero state, see `Method`."""
        self._state = self._model.initial_state(batch_size)

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window, see `Method`."""
        nats, self._state = self._score_window(inputs, targets, self._state)
        return nats

    def _score_window_eagerly(
        self, inputs: tf.Tensor, targets: tf.Tensor, state: Any
    ) -> tuple[tf.Tensor, Any]:
        """[batch, time] ids and the state -> (nats [batch, time], state)."""
        model = self._model
        features, state = model.features(
            model.embed(tf.transpose(inputs)), state, with_gradient=False
        )
        return tf.transpose(model.token_nats(features, tf.transpose(targets))), state
