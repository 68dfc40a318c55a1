"""Scores: the same number for every chunk length, and equal to NumPy's."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.data.windows import count_windows, read_window
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator, score_run
from ptb_lm.evaluation.members import Members
from ptb_lm.evaluation.plain import Plain
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.model.recurrence import STEPS_OF_AN_ITERATION
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.training.step import TrainingProgram
from tests.support import reference
from tests.support.arithmetic import reference_parameters
from tests.support.models import plain_evaluator

VOCAB = 11


@functools.cache
def make_model(tied):
    return LanguageModel(VOCAB, 5, 2, keep_prob=0.5, init_scale=0.8, tied=tied, seed=4)


def random_ids(length, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, length, dtype=np.int32)


@functools.cache
def evaluator(tied, chunk_tokens):
    """Not compiled: every length would be traced anew."""
    method = Plain(make_model(tied), Config())
    method._score_window = method._score_window_eagerly
    return Evaluator(method, chunk_tokens)


@pytest.mark.parametrize("tied", [False, True])
def test_exact_equals_the_reference(tied):
    model, ids = make_model(tied), random_ids(150)
    params = reference_parameters(model.named_variables())
    nats, tokens = reference.perplexity_exact(params, ids, tied=tied)[:2]
    for chunk_tokens in (2048, 40):  # unrolled and looped, compiled
        score = plain_evaluator(model, chunk_tokens).exact(ids)
        assert score.tokens == tokens == 149
        assert score.nats == pytest.approx(nats, rel=1e-6)


@pytest.mark.parametrize("rnn_mode", ["fused", "keras"])
def test_short_ends_of_texts(rnn_mode):
    """Fewer steps than the loop takes at once, after other batch sizes, compiled."""
    model = LanguageModel(VOCAB, 5, 2, init_scale=0.8, rnn_mode=rnn_mode)
    params = reference_parameters(model.named_variables())
    scorer = plain_evaluator(model, chunk_tokens=24)
    scorer.tutorial(random_ids(60), 3, 4)
    for length in (24 + 4, 24 + 1 + STEPS_OF_AN_ITERATION, 5, 2):
        ids = random_ids(length)
        nats, _ = reference.perplexity_exact(params, ids)[:2]
        assert scorer.exact(ids).nats == pytest.approx(nats, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(0, 60), chunk_tokens=st.integers(1, 70), seed=st.integers(0))
def test_exact_is_independent_of_chunk_length(length, chunk_tokens, seed):
    ids = random_ids(length, seed % 2**32)
    scorer = evaluator(False, 1)
    scorer._chunk_tokens = chunk_tokens
    score = scorer.exact(ids)
    params = reference_parameters(make_model(False).named_variables())
    assert score.tokens == max(length - 1, 0)
    if score.tokens:
        nats, _ = reference.perplexity_exact(params, ids)[:2]
        assert score.nats == pytest.approx(nats, rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    batch_size=st.integers(1, 5),
    num_steps=st.integers(1, 7),
    more=st.integers(0, 50),
    chunk_tokens=st.integers(1, 50),
)
def test_tutorial_equals_a_naive_loop(batch_size, num_steps, more, chunk_tokens):
    """Window by window with the state carried, as the tutorial runs it."""
    length = batch_size * (num_steps + 1) + more  # one window or more
    ids = random_ids(length)
    params = reference_parameters(make_model(False).named_variables())
    nats, tokens, state = 0.0, 0, None
    for window in range(count_windows(length, batch_size, num_steps)):
        inputs, targets = read_window(ids, batch_size, num_steps, window)
        result = reference.language_model_loss(params, inputs, targets, state)
        state = result.state
        nats += result.loss * batch_size  # loss: over time the sum, over rows the mean
        tokens += targets.size
    scorer = evaluator(False, 2)
    scorer._chunk_tokens = chunk_tokens
    score = scorer.tutorial(ids, batch_size, num_steps)
    assert (
        score.tokens
        == tokens
        == count_windows(length, batch_size, num_steps) * batch_size * num_steps
    )
    assert score.nats == pytest.approx(nats, rel=1e-6)


@pytest.mark.parametrize("length", [0, 1, 2, 3 * (4 + 1) - 1])
def test_a_text_too_short_for_a_window_is_scored_in_one_stream(length):
    ids = random_ids(length)
    score = evaluator(False, 2).tutorial(ids, 3, 4)
    assert score == evaluator(False, 2).exact(ids)
    assert score.tokens == max(length - 1, 0)


def test_chunks_are_as_long_as_asked():
    calls = []
    evaluator(True, 6).exact(random_ids(20), lambda *done: calls.append(done))
    assert calls == [(6, 19), (12, 19), (18, 19), (19, 19)]
    calls.clear()
    evaluator(True, 6).tutorial(random_ids(20), 3, 2, lambda *done: calls.append(done))
    assert calls == [(6, 12), (12, 12)]


def test_nats_of_each_token_are_those_of_the_sum():
    """A text of one token, or of none, has nothing to predict."""
    ids = random_ids(150)
    params = reference_parameters(make_model(False).named_variables())
    for size in (150, 40, 2):
        nats = evaluator(False, 40).token_nats(ids[:size])
        assert nats.dtype == np.float32 and nats.shape == (size - 1,)
        expected, _ = reference.perplexity_exact(params, ids[:size])[:2]
        assert nats.sum() == pytest.approx(expected, rel=1e-5)
    assert evaluator(False, 40).token_nats(ids[:1]).shape == (0,)
    assert evaluator(False, 40).token_nats(ids[:0]).shape == (0,)


def score(run, ids):
    """Scores a text as ``--mode=evaluate`` does."""
    method = Members(Config(), [run], lambda split: ids).method()
    return score_run(run, ids, Config(), "a text", method)


def test_a_run_without_checkpoints(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open_for_training(
        Config.from_values({"hidden_size": 3}), Vocabulary(["a", "b"])
    )
    ids = np.zeros(9, np.int32)
    with pytest.raises(UserError, match="no 'best' checkpoint yet"):
        score(TrainedRun(tmp_path), ids)
    program = TrainingProgram(folder.config(), 2)
    arrays = {name: v.numpy() for name, v in program.variables().items()}
    path = folder.checkpoints.save(1, arrays, {}, best=True)
    assert score(TrainedRun(tmp_path), ids).tokens == 8
    best = path.with_name(path.name.replace("last", "best"))
    best.write_bytes(best.read_bytes()[:-1])
    with (
        pytest.warns(UserWarning, match=best.name),
        pytest.raises(UserError, match="every 'best' checkpoint is damaged"),
    ):
        score(TrainedRun(tmp_path), ids)
