"""Schedule, norms and sparse gradients."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import run_ptb
from ptb_lm.config import Config
from ptb_lm.training import optimizers


def rates(preset, *flags):
    training = run_ptb.parse([f"--model={preset}", *flags]).training
    return [
        optimizers.learning_rate(training, epoch)
        for epoch in range(training.max_max_epoch)
    ]


def test_learning_rates_of_the_published_table():
    """Zaremba's code: max_epoch + 1 epochs at the full rate, then 0.5 and so on."""
    assert rates("small") == [1.0] * 5 + [0.5**n for n in range(1, 9)]
    assert rates("medium")[:7] == [1.0] * 7
    assert rates("medium")[-1] == pytest.approx(0.8**32)
    assert rates("large")[14] == 1.0
    assert rates("large")[-1] == pytest.approx(1.15**-40)


def test_learning_rates_of_the_later_tutorial():
    """The rates that it prints: small halves after epoch 4."""
    found = rates("small", "--schedule=tutorial")
    assert found == [1.0] * 4 + [0.5**n for n in range(1, 10)]
    assert rates("large", "--schedule=tutorial")[13:15] == [
        1.0,
        pytest.approx(1 / 1.15),
    ]


def test_no_decay_when_every_epoch_is_early():
    training = dataclasses.replace(Config().training, max_epoch=50)
    assert optimizers.learning_rate(training, 12) == training.learning_rate


@settings(max_examples=25, deadline=None)
@given(ids=st.lists(st.integers(0, 6), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_deduplicated_rows_are_the_dense_gradient(ids, seed):
    rows = np.random.default_rng(seed).normal(size=(len(ids), 3)).astype(np.float32)
    dense = np.zeros((7, 3))
    np.add.at(dense, ids, rows)
    slices = optimizers.deduplicate(tf.constant(ids), tf.constant(rows), 7)
    assert len(set(slices.indices.numpy())) == len(slices.indices)
    np.testing.assert_allclose(tf.convert_to_tensor(slices), dense, atol=1e-5)
    norm = optimizers.global_norm([slices, tf.constant([3.0, 4.0])])
    np.testing.assert_allclose(norm, np.sqrt((dense**2).sum() + 25), rtol=1e-5)


@pytest.mark.parametrize("norm, factor", [(0.0, 1.0), (5.0, 1.0), (20.0, 0.25)])
def test_clipping_only_shrinks(norm, factor):
    assert optimizers.clip_factor(tf.constant(norm), 5.0).numpy() == factor
