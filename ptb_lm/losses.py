"""Softmax cross entropy over a large vocabulary, with its gradient."""

import tensorflow as tf


def token_nats(
    features: tf.Tensor,
    matrix: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    tied: bool = False,
) -> tf.Tensor:
    """Cross entropy of each target under softmax(features W + bias).

    The gradient of the logits, softmax - one-hot, is formed in the same pass
    as the loss while the logits are at hand. The three products around that
    pass are left to the graph, whose matrix product is the faster one; the pass
    itself is compiled, so that it reads and writes [n, vocabulary] once.

    Args:
      features: [n, hidden].
      matrix: W, [hidden, vocabulary], or [vocabulary, hidden] where tied.
      bias: [vocabulary].
      targets: int32 [n].
      tied: whether the matrix is an embedding, to be transposed.

    Returns:
      -log p(target) in nats, float32 [n].
    """

    @tf.custom_gradient
    def run(features, matrix, bias):
        products = tf.matmul(features, matrix, transpose_b=tied)
        nats, delta = _softmax_pass(products, bias, targets)

        def gradient(d_nats):
            weighted = features * d_nats[:, None]
            d_features = tf.matmul(delta, matrix, transpose_b=not tied)
            d_matrix = (
                tf.matmul(delta, weighted, transpose_a=True)
                if tied
                else tf.matmul(weighted, delta, transpose_a=True)
            )
            d_bias = tf.squeeze(tf.matmul(d_nats[None], delta), axis=0)
            return d_nats[:, None] * d_features, d_matrix, d_bias

        return nats, gradient

    return run(features, tf.convert_to_tensor(matrix), tf.convert_to_tensor(bias))


@tf.function(jit_compile=True)
def _softmax_pass(products, bias, targets):
    """Products [n, vocabulary] -> nats [n], softmax - one-hot [n, vocabulary]."""
    logits = products + bias
    is_target = tf.range(logits.shape[1])[None] == targets[:, None]
    one_hot = tf.cast(is_target, logits.dtype)
    largest = tf.reduce_max(logits, axis=1, keepdims=True)
    exponentials = tf.exp(logits - largest)
    total = tf.reduce_sum(exponentials, axis=1, keepdims=True)
    log_total = tf.squeeze(tf.math.log(total) + largest, axis=1)
    nats = log_total - tf.reduce_sum(logits * one_hot, axis=1)
    return nats, exponentials / total - one_hot
