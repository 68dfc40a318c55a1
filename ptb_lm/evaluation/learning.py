"""How weights learn from a segment of text: its gradients, and the rules.

With g the gradient of the segment's mean loss and w0 the trained weights:

    sgd   w += l (w0 - w) - eta g
    rms   w += l r (w0 - w) - eta g / (RMS + epsilon),   r = min(RMS / mean(RMS), 1 / l)

(Krause, Kahembwe, Murray and Renals 2017, "Dynamic Evaluation of Neural Sequence
Models", sections 3 and 4.) RMS is the root mean square of the gradient of each weight
over the training text, see `gradient_statistics`; its mean is over all weights.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ptb_lm.evaluation.method import EMBEDDING, Scorable


class Gradients(NamedTuple):
    """Gradients of a loss.

    Attributes:
      dense: by the weight's name; None: no more than rows of the weight were read.
      rows: of the embedding, for every token that was read, in the order of the
        tokens; to be added to its dense gradient.
    """

    dense: dict[str, tf.Tensor | None]
    rows: tf.IndexedSlices


class DynamicConstants(NamedTuple):
    """How fast the weights follow the text: numbers; in a graph float32 scalars.

    Attributes:
      rate: eta.
      decay: l, the share of the way back to w0.
      epsilon: of the rule rms.
    """

    rate: float
    decay: float
    epsilon: float


def segment_gradients(
    model: Scorable,
    weights: dict[str, tf.Variable],
    inputs: tf.Tensor,
    targets: tf.Tensor,
    state: Any,
) -> tuple[tf.Tensor, tf.Tensor, Any, Gradients]:
    """Scores a segment, and takes the gradient of its mean loss in nats.

    The embedding is read outside the tape: added to the dense gradient of a tied
    softmax, its rows would be copied with it, and without one they would be made dense.

    Args:
      model: any whose weights are known.
      weights: by name.
      inputs: int32 [batch, time].
      targets: int32 [batch, time].
      state: before the segment; no gradient flows into it.

    Returns:
      What `plain.score_window` returns, and the gradients.
    """
    ids = tf.transpose(inputs)
    embedded = model.embed(ids)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        features, state = model.features(embedded, state, with_gradient=True)
        nats = tf.transpose(model.token_nats(features, tf.transpose(targets)))
        loss = tf.reduce_mean(nats)
    dense = tape.gradient(loss, weights | {"embedded": embedded})
    batch = tf.shape(inputs)[0]  # rows after these are padding
    rows = tf.reshape(dense.pop("embedded")[:, :batch], [-1, embedded.shape[-1]])
    slices = tf.IndexedSlices(rows, tf.reshape(ids, [-1]))
    of_texts = tf.transpose(features[:, :batch], [1, 0, 2])
    return nats, of_texts, state, Gradients(dense, slices)


class Rule:
    """Changes the weights after a segment, and remembers what they were."""

    def __init__(
        self, weights: dict[str, tf.Variable], rms: dict[str, np.ndarray] | None
    ):
        """Keeps a copy of the trained weights, and compiles the change.

        Args:
          weights: by name.
          rms: root mean square of each weight's gradient, by name; None: the rule sgd.
        """
        self._weights = weights
        self._trained = {name: tf.identity(w) for name, w in weights.items()}
        self._rms: dict[str, tf.Tensor] = {}
        self._mean_rms = tf.constant(1.0)
        if rms is not None:
            count = sum(values.size for values in rms.values())
            mean = sum(values.sum(dtype=np.float64) for values in rms.values()) / count
            self._mean_rms = tf.constant(mean, tf.float32)
            self._rms = {name: tf.constant(rms[name], tf.float32) for name in weights}
        # The change waits for memory. XLA reads each number once and writes it once;
        # operations one after the other do so once each. On a GPU it needs files of
        # CUDA that not every installation has.
        self._change = tf.function(
            self._change_eagerly,
            autograph=False,
            jit_compile=not tf.config.get_visible_devices("GPU"),
        )

    def learn(self, gradients: Gradients, constants: DynamicConstants) -> None:
        """Changes the weights in place.

        Args:
          gradients: of the mean loss of a segment.
          constants: of the rule.
        """
        rows = gradients.rows
        self._change(gradients.dense, rows.indices, rows.values, constants)

    def restore(self) -> None:
        """Puts the trained weights back."""
        for name, weight in self._weights.items():
            weight.assign(self._trained[name])

    def _change_eagerly(
        self,
        dense: dict[str, tf.Tensor | None],
        ids: tf.Tensor,
        rows: tf.Tensor,
        constants: DynamicConstants,
    ) -> None:
        """The graph of `learn`."""
        for name, weight in self._weights.items():
            rms, gradient = self._rms.get(name), dense[name]
            pull = constants.decay
            if rms is not None:
                pull = tf.minimum(rms * (constants.decay / self._mean_rms), 1.0)
            change = pull * (self._trained[name] - weight)
            if gradient is not None:
                change -= _push(gradient, rms, constants)
            if name == EMBEDDING:
                of_rows = None if rms is None else tf.gather(rms, ids)
                push = _push(rows, of_rows, constants)
                change = tf.tensor_scatter_nd_sub(change, ids[:, None], push)
            weight.assign_add(change)


def _push(
    gradient: tf.Tensor, rms: tf.Tensor | None, constants: DynamicConstants
) -> tf.Tensor:
    """How far a gradient moves a weight; rms: of the same shape; None: sgd."""
    if rms is None:
        return constants.rate * gradient
    return constants.rate / (rms + constants.epsilon) * gradient
