"""A long text read in rows has the scores of one stream."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.config import Config
from ptb_lm.evaluation import rows
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.neural_cache import NeuralCache
from ptb_lm.evaluation.plain import Plain
from ptb_lm.model.language_model import LanguageModel
from tests.support import reference
from tests.support.arithmetic import reference_parameters

VOCAB = 11


@pytest.fixture
def short_rows(monkeypatch):
    monkeypatch.setattr(rows, "SHORTEST_ROW", 60)


def random_ids(length, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, length, dtype=np.int32)


def one_stream(model):
    """A method that says nothing of its state."""
    method = Plain(model, Config())
    method.state_rounding = None
    return method


def in_one_stream(model, ids):
    return Evaluator(one_stream(model)).token_nats(ids)


@pytest.mark.usefixtures("short_rows")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "mogrifier"])
def test_rows_equal_the_reference(cell):
    model = LanguageModel(VOCAB, 5, 2, init_scale=0.5, cell=cell)
    ids, method = random_ids(60 * 7 + 13), Plain(model, Config())
    assert rows.rows_of_stream(method, ids) == 7
    nats = Evaluator(method).token_nats(ids)
    np.testing.assert_allclose(nats, in_one_stream(model, ids), atol=2e-5)
    assert Evaluator(method).exact(ids).nats == pytest.approx(nats.sum(), rel=1e-6)
    if cell == "lstm":
        params = reference_parameters(model.named_variables())
        exact, tokens = reference.perplexity_exact(params, ids)[:2]
        assert tokens == len(nats)
        assert nats.sum(dtype=np.float64) == pytest.approx(exact, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(122, 400),
    chunk_tokens=st.integers(1, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_length_in_any_chunks(length, chunk_tokens, seed):
    model = LanguageModel(VOCAB, 4, 1, init_scale=0.5, seed=seed % 7)
    method, ids = Plain(model, Config()), random_ids(length, seed)
    method._score_window = method._score_window_eagerly  # nothing is traced
    done = []
    count = (length - 1) // 60
    nats = rows.nats_in_rows(
        method, ids, count, chunk_tokens, lambda *place: done.append(place)
    )
    np.testing.assert_allclose(nats, in_one_stream(model, ids), atol=2e-5)
    assert done == sorted(done) and done[-1] == (length - 1, length - 1)


@pytest.mark.parametrize("size", [7, 300])
def test_a_cache_follows_the_rows_in_parts(size, monkeypatch):
    """Its cache holds more than a row, and tokens of the part before."""
    monkeypatch.setattr(rows, "SHORTEST_ROW", 60)
    monkeypatch.setattr(rows, "LONGEST_ROW", 75)
    model = LanguageModel(VOCAB, 5, 1, init_scale=0.5)
    ids = random_ids(60 * 32 * 2 + 5)
    method = NeuralCache(Plain(model, Config()), size, 0.4, 0.7)
    assert rows.rows_of_stream(method, ids) == 32
    done = []
    nats = Evaluator(method).token_nats(ids, lambda *place: done.append(place))
    alone = NeuralCache(one_stream(model), size, 0.4, 0.7)
    np.testing.assert_allclose(nats, Evaluator(alone).token_nats(ids), atol=2e-5)
    assert done == sorted(done) and done[-1] == (len(nats), len(nats))


@pytest.mark.usefixtures("short_rows")
def test_a_network_that_does_not_forget_is_read_as_one_stream():
    """Its forget gates stand at 1, so c is a sum over all that was read."""
    model = LanguageModel(VOCAB, 5, 1, init_scale=0.5, forget_bias=40.0)
    ids = random_ids(60 * 5)
    method = Plain(model, Config())
    assert rows.rows_of_stream(method, ids) == 4
    assert rows.nats_in_rows(method, ids, 4, 1024, lambda *_: None) is None
    nats = Evaluator(method).token_nats(ids)
    np.testing.assert_array_equal(nats, in_one_stream(model, ids))
    assert Evaluator(method).exact(ids).tokens == len(nats)


def test_a_short_text_is_one_stream():
    method = Plain(LanguageModel(VOCAB, 5, 1), Config())
    assert rows.rows_of_stream(method, random_ids(2 * rows.SHORTEST_ROW)) == 1
    assert rows.rows_of_stream(method, random_ids(2 * rows.SHORTEST_ROW + 1)) == 2
    assert rows.rows_of_stream(method, random_ids(10**6)) == rows.MOST_ROWS


@pytest.mark.parametrize(
    ("second", "far"),
    [([[0.0], [100.0]], 0.0), ([[0.5], [100.0]], 0.5), ([[0.0], [200.0]], 0.5)],
)
def test_distance_is_relative_to_large_numbers(second, far):
    first = {"h": tf.constant([[0.0], [100.0]])}
    assert rows.distance(first, {"h": tf.constant(second)}) == far


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_far_away(bad):
    first, second = tf.constant([[0.0]]), tf.constant([[bad]])
    assert not rows.distance(first, second) <= 1e-5
    assert not rows.distance(second, first) <= 1e-5
