"""An export as a model that evaluation methods can use."""

from typing import Any

import tensorflow as tf


class Exported:
    """Stands for the model of a SavedModel, of which only the functions are known.

    A `Scorable` without weights. `step` gives the log-probabilities of all tokens:
    they serve as logits, and as the features that the softmax reads.
    """

    def __init__(self, functions: Any):
        """Takes what TensorFlow restored of an export of this project."""
        self._functions = functions
        self.vocab_size = int(functions.vocabulary()["tokens"].shape[0])

    def named_variables(self) -> dict[str, tf.Variable]:
        """None: the names of an export's weights are not known."""
        return {}

    def initial_state(self, batch_size: int | tf.Tensor) -> tf.Tensor:
        """Zero state, as the export packs it."""
        return self._functions.initial_state(batch_size)["state"]

    def embed(self, ids: tf.Tensor) -> tf.Tensor:
        """The ids themselves, int32 [time, batch]: `features` reads them."""
        return ids

    def features(
        self, embedded: tf.Tensor, state: tf.Tensor, *, with_gradient: bool = True
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-probabilities [time, batch, vocabulary], and the state after."""
        stepped = self._functions.step(tf.transpose(embedded), state)
        scores = tf.transpose(stepped["log_probabilities"], [1, 0, 2])
        return scores, stepped["state"]

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Log-probabilities are logits: [time, batch, vocabulary]."""
        return features

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """-log p(target) in nats: targets [time, batch] -> float32, the same."""
        return -tf.gather(features, targets, axis=2, batch_dims=2)
