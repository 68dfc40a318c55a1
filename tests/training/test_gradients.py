"""Norms, clipping and sparse gradients."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.training.gradients import clip_factor, deduplicate, global_norm


@settings(max_examples=25, deadline=None)
@given(ids=st.lists(st.integers(0, 6), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_deduplicated_rows_are_the_dense_gradient(ids, seed):
    rows = np.random.default_rng(seed).normal(size=(len(ids), 3)).astype(np.float32)
    dense = np.zeros((7, 3))
    np.add.at(dense, ids, rows)
    slices = deduplicate(tf.constant(ids), tf.constant(rows), 7)
    assert len(set(slices.indices.numpy())) == len(slices.indices)
    np.testing.assert_allclose(tf.convert_to_tensor(slices), dense, atol=1e-5)
    norm = global_norm([slices, tf.constant([3.0, 4.0])])
    np.testing.assert_allclose(norm, np.sqrt((dense**2).sum() + 25), rtol=1e-5)


@pytest.mark.parametrize("norm, factor", [(0.0, 1.0), (5.0, 1.0), (20.0, 0.25)])
def test_clipping_only_shrinks(norm, factor):
    assert clip_factor(tf.constant(norm), 5.0).numpy() == factor
