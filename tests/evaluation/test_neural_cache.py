"""The neural cache beside float64 NumPy, and what must hold of any cache."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.neural_cache import NeuralCache, mix
from ptb_lm.evaluation.plain import Plain
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.system import memory
from tests.support.models import plain_evaluator

VOCAB = 11


@pytest.fixture(scope="module")
def model():
    return LanguageModel(VOCAB, 6, 1, init_scale=0.9, seed=3)


def random_ids(count, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, count).astype(np.int32)


def cache_evaluator(model, size, weight, flatness, chunk_tokens=1024):
    method = NeuralCache(Plain(model, Config()), size, weight, flatness)
    return Evaluator(method, chunk_tokens)


def test_a_cache_beyond_memory_is_refused(model, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**6)
    cache_evaluator(model, 1_000, 0.5, 1.0).exact(random_ids(9))
    with pytest.raises(UserError, match="a cache of 1,000,000 tokens needs at least"):
        cache_evaluator(model, 1_000_000, 0.5, 1.0).exact(random_ids(9))


def distribution(features, ids, step, size, flatness):
    """p_cache of every token after step `step`, in float64; None where it is empty."""
    begin = max(step - size, 0)
    if begin == step:
        return None
    similar = features[begin:step] @ features[step]
    weights = np.exp(flatness * similar)
    found = np.zeros(VOCAB)
    np.add.at(found, ids[begin + 1 : step + 1], weights)
    return found / weights.sum()


def expected_nats(model, ids, size, weight, flatness):
    embedded = model.embed(tf.constant(ids[:-1, None]))
    features, _ = model.features(embedded, model.initial_state(1))
    features = features.numpy()[:, 0].astype(np.float64)
    said = np.exp(-plain_evaluator(model).token_nats(ids).astype(np.float64))
    nats = []
    for step, p in enumerate(said):
        cache = distribution(features, ids, step, size, flatness)
        if cache is not None:
            assert cache.sum() == pytest.approx(1, abs=1e-12)
            p = (1 - weight) * p + weight * cache[ids[step + 1]]
        nats.append(-np.log(p))
    return np.array(nats)


@settings(max_examples=10, deadline=None)
@given(
    size=st.integers(1, 80),
    weight=st.floats(0.01, 0.9),
    flatness=st.floats(0.0, 3.0),
    chunk=st.integers(1, 60),
    seed=st.integers(0, 9),
)
def test_scores_are_those_of_the_equations(model, size, weight, flatness, chunk, seed):
    ids = random_ids(50, seed)
    expected = expected_nats(model, ids, size, weight, flatness)
    evaluator = cache_evaluator(model, size, weight, flatness, chunk)
    np.testing.assert_allclose(evaluator.token_nats(ids), expected, rtol=0, atol=1e-6)


def test_a_token_influences_later_ones_only(model):
    ids = random_ids(40)
    whole = cache_evaluator(model, 8, 0.3, 1.0).token_nats(ids)
    for length in (5, 22):
        begin = cache_evaluator(model, 8, 0.3, 1.0).token_nats(ids[:length])
        np.testing.assert_allclose(begin, whole[: length - 1], atol=1e-6)


def test_every_text_begins_with_an_empty_cache(model):
    ids = random_ids(30)
    evaluator = cache_evaluator(model, 100, 0.5, 1.0)
    first, again = evaluator.token_nats(ids), evaluator.token_nats(ids)
    np.testing.assert_array_equal(first, again)
    assert first[0] == plain_evaluator(model).token_nats(ids)[0]


def test_rows_have_caches_of_their_own(model):
    rows = [random_ids(12, 1), random_ids(12, 2)]
    nats = [expected_nats(model, row[:11], 50, 0.4, 0.5).sum() for row in rows]
    score = cache_evaluator(model, 50, 0.4, 0.5).tutorial(np.concatenate(rows), 2, 5)
    assert score.tokens == 20 and score.nats == pytest.approx(sum(nats), rel=1e-5)


def test_large_similarities_do_not_overflow(model):
    nats = cache_evaluator(model, 20, 0.3, 1e6).token_nats(random_ids(60))
    assert np.isfinite(nats).all()


def test_a_mixture_with_what_says_nothing_is_the_first():
    nats = tf.constant([1.0, 2.0, 3.0])
    others = tf.constant([np.nan, np.inf, 3.0], tf.float64)
    mixed = mix(nats, others, 0.25).numpy()
    np.testing.assert_allclose(mixed, [1.0, 2.0 - np.log(0.75), 3.0], rtol=1e-6)
