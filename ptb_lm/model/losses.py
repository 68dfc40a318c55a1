"""Softmax cross entropy over a large vocabulary, with its gradient."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ptb_lm.model.precision import cast, matmul

# Below this a float32 probability loses digits, and then becomes zero.
_SMALLEST_PROBABILITY = 1e-30


def token_nats(
    features: tf.Tensor,
    matrix: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    tied: bool = False,
    matmul_dtype: str | None = None,
) -> tf.Tensor:
    """Cross entropy of each target under softmax(features W + bias).

    The softmax is computed once: the loss reads its value at the target, and the
    backward pass turns it in place into the gradient of the logits, softmax -
    one-hot. Factors of a row scale [n, hidden] tensors, not [n, vocabulary] ones.

    Args:
      features: [n, hidden].
      matrix: W, [hidden, vocabulary], or [vocabulary, hidden] where tied.
      bias: [vocabulary].
      targets: int32 [n].
      tied: whether the matrix is an embedding, to be transposed.
      matmul_dtype: type that matrices are multiplied in, see `precision`; None:
        their own.

    Returns:
      -log p(target) in nats, float32 [n].
    """
    rows = tf.range(tf.shape(targets)[0], dtype=targets.dtype)
    places = tf.stack([rows, targets], axis=1)  # of the targets' logits, [n, 2]

    @tf.custom_gradient
    def run(
        features: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        factor = cast(matrix, matmul_dtype)

        def logits() -> tf.Tensor:
            products = matmul(features, factor, transpose_b=tied)
            return tf.nn.bias_add(products, bias)

        probabilities = tf.nn.softmax(logits())
        target_probabilities = tf.gather_nd(probabilities, places)
        nats = tf.cond(
            tf.reduce_all(target_probabilities > _SMALLEST_PROBABILITY),
            lambda: -tf.math.log(target_probabilities),
            lambda: _nats_of_improbable(logits(), places),
        )

        def gradient(d_nats: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Read before it is changed, so that it can be changed in place.
            with tf.control_dependencies([target_probabilities]):
                ones = tf.ones_like(target_probabilities)
                delta = tf.tensor_scatter_nd_sub(probabilities, places, ones)
            return _gradient(d_nats, delta, features, factor, tied, matmul_dtype)

        return nats, gradient

    return run(features, tf.convert_to_tensor(matrix), tf.convert_to_tensor(bias))


def sampled_nats(
    features: tf.Tensor,
    matrix: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    samples: tf.Tensor,
    log_expected: Callable[[tf.Tensor], tf.Tensor],
    tied: bool = False,
    matmul_dtype: str | None = None,
) -> tf.Tensor:
    """Cross entropy of each target under a softmax over it and samples.

        s(w) = features W_w + bias_w - log E(w)
        nats = log(e^s(target) + sum_j e^s(sample_j)) - s(target)

    E(w) is how often w is expected among the samples (Jean et al. 2015, section 3; as
    tf.nn.sampled_softmax_loss). A sample that is the target is left out of its sum.

    Args:
      features: [n, hidden].
      matrix: W, [hidden, vocabulary], or [vocabulary, hidden] where tied.
      bias: [vocabulary].
      targets: int32 [n].
      samples: int32 [S].
      log_expected: int32 [k] -> log E, float32 [k].
      tied: whether the matrix is an embedding, to be transposed.
      matmul_dtype: type that matrices are multiplied in, see `precision`; None:
        their own.

    Returns:
      Nats, float32 [n]; an estimate of what `token_nats` returns only where the
      samples are many.
    """
    rows = [tf.gather(matrix, ids, axis=0 if tied else 1) for ids in (targets, samples)]
    of_targets = rows[0] if tied else tf.transpose(rows[0])
    offsets = [tf.gather(bias, ids) - log_expected(ids) for ids in (targets, samples)]
    target_scores = tf.reduce_sum(features * of_targets, axis=1) + offsets[0]
    factor = cast(rows[1], matmul_dtype)
    scores = matmul(features, factor, transpose_b=tied) + offsets[1]
    is_target = targets[:, None] == samples
    scores = tf.where(is_target, scores.dtype.min, scores)
    scores = tf.concat([target_scores[:, None], scores], axis=1)
    return tf.reduce_logsumexp(scores, axis=1) - target_scores


def _gradient(
    d_nats: tf.Tensor,
    delta: tf.Tensor,
    features: tf.Tensor,
    factor: tf.Tensor,
    tied: bool,
    matmul_dtype: str | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Gradients of features, matrix and bias; delta is softmax - one-hot."""
    d_bias = tf.squeeze(tf.matmul(d_nats[None], delta), axis=0)
    delta = cast(delta, matmul_dtype)
    weighted = features * d_nats[:, None]
    d_features = matmul(delta, factor, transpose_b=not tied)
    d_matrix = (
        matmul(delta, weighted, transpose_a=True)
        if tied
        else matmul(weighted, delta, transpose_a=True)
    )
    return d_nats[:, None] * d_features, d_matrix, d_bias


def _nats_of_improbable(logits: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Nats of targets whose probability a float32 cannot hold, [n]."""
    return tf.reduce_logsumexp(logits, axis=1) - tf.gather_nd(logits, places)
