"""Schedule, norms and sparse gradients."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import run_ptb
from ptb_lm import optimization
from ptb_lm.config import Config


def test_learning_rates_of_the_tutorial():
    """The rates that the tutorial prints: small halves after epoch 4."""
    training = run_ptb.parse(["--model=small"]).training
    rates = [optimization.learning_rate(training, epoch) for epoch in range(13)]
    assert rates[:6] == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25]
    assert rates[12] == 0.5**9
    training = run_ptb.parse(["--model=large"]).training
    assert optimization.learning_rate(training, 13) == 1.0
    assert optimization.learning_rate(training, 54) == pytest.approx(1.15**-41)


def test_no_decay_when_every_epoch_is_early():
    training = dataclasses.replace(Config().training, max_epoch=50)
    assert optimization.learning_rate(training, 12) == training.learning_rate


@settings(max_examples=25, deadline=None)
@given(ids=st.lists(st.integers(0, 6), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_deduplicated_rows_are_the_dense_gradient(ids, seed):
    rows = np.random.default_rng(seed).normal(size=(len(ids), 3)).astype(np.float32)
    dense = np.zeros((7, 3))
    np.add.at(dense, ids, rows)
    slices = optimization.deduplicate(tf.constant(ids), tf.constant(rows), 7)
    assert len(set(slices.indices.numpy())) == len(slices.indices)
    np.testing.assert_allclose(tf.convert_to_tensor(slices), dense, atol=1e-5)
    norm = optimization.global_norm([slices, tf.constant([3.0, 4.0])])
    np.testing.assert_allclose(norm, np.sqrt((dense**2).sum() + 25), rtol=1e-5)


@pytest.mark.parametrize("norm, factor", [(0.0, 1.0), (5.0, 1.0), (20.0, 0.25)])
def test_clipping_only_shrinks(norm, factor):
    assert optimization.clip_factor(tf.constant(norm), 5.0).numpy() == factor
