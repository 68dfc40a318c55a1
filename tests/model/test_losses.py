"""The softmax loss against the stock operations and NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.model.losses import token_nats
from tests.support import reference


def problem(rows, vocab, scale, seed):
    rng = np.random.default_rng(seed)
    return (
        (scale * rng.normal(size=(rows, 6))).astype(np.float32),
        rng.normal(size=(6, vocab)).astype(np.float32),
        rng.normal(size=vocab).astype(np.float32),
        rng.integers(0, vocab, size=rows).astype(np.int32),
        rng.normal(size=rows).astype(np.float32),
    )


@pytest.mark.parametrize("tied", [False, True])
@settings(max_examples=10, deadline=None)
@given(
    rows=st.integers(1, 9),
    vocab=st.integers(2, 17),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_value_and_gradients(tied, rows, vocab, scale, seed):
    features, matrix, bias, targets, weights = problem(rows, vocab, scale, seed)
    variables = [
        tf.constant(features),
        tf.constant(matrix.T if tied else matrix),
        tf.constant(bias),
    ]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        nats = token_nats(*variables, tf.constant(targets), tied=tied)
        loss = tf.reduce_sum(nats * weights)
    gradients = [g.numpy() for g in tape.gradient(loss, variables)]
    if tied:
        gradients[1] = gradients[1].T

    logits = features.astype(np.float64) @ matrix + bias
    expected = [
        reference.cross_entropy(row[None, None], np.array([[target]]), "sum_over_time")
        for row, target in zip(logits, targets, strict=True)
    ]
    np.testing.assert_allclose(nats, [e[0] for e in expected], rtol=1e-4, atol=1e-4)
    d_logits = np.array([np.squeeze(e[1], (0, 1)) for e in expected])
    d_logits *= weights[:, None]
    for mine, other in zip(
        gradients,
        (d_logits @ matrix.T, features.T @ d_logits, d_logits.sum(0)),
        strict=True,
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=2e-4 * (1 + scale))


def test_large_logits_do_not_overflow():
    nats = token_nats(
        tf.constant([[1000.0], [-1000.0]]),
        tf.constant([[1.0, -1.0]]),
        tf.zeros([2]),
        tf.constant([0, 0]),
    )
    np.testing.assert_allclose(nats, [0.0, 2000.0])
