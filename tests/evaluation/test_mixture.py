"""Mixtures of methods beside NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.mixture import (
    LinearMixture,
    LogMixture,
    NGramMethod,
    best_weights,
    tune_weights,
)
from ptb_lm.evaluation.ngrams import estimate
from ptb_lm.evaluation.plain import Plain
from ptb_lm.model.language_model import LanguageModel
from tests.support.models import plain_evaluator

VOCAB = 9


def random_ids(count, seed=0):
    shares = 1 / np.arange(1, VOCAB + 1)
    rng = np.random.default_rng(seed)
    return rng.choice(VOCAB, count, p=shares / shares.sum()).astype(np.int32)


@pytest.fixture(scope="module")
def models():
    return [LanguageModel(VOCAB, 5, 1, init_scale=0.9, seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def ngrams():
    return estimate(random_ids(2000), 3, VOCAB, line_end=0)


def distributions(model, ids):
    """Of every token after each but the last, float64 [tokens - 1, vocabulary]."""
    logits = model(tf.constant(ids[None, :-1]))[0][0].numpy().astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def methods(models):
    return [Plain(model, Config()) for model in models]


@pytest.mark.parametrize("chunk_tokens", [1024, 7])
def test_a_linear_mixture_averages_probabilities(models, chunk_tokens):
    ids, weights = random_ids(60), [0.2, 0.3, 0.5]
    mixed = sum(
        weight * distributions(model, ids)
        for model, weight in zip(models, weights, strict=True)
    )
    assert np.allclose(mixed.sum(axis=1), 1, atol=1e-12)
    expected = -np.log(mixed[np.arange(59), ids[1:]])
    mixture = LinearMixture(methods(models), weights)
    nats = Evaluator(mixture, chunk_tokens).token_nats(ids)
    np.testing.assert_allclose(nats, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk_tokens", [1024, 7])
def test_a_log_mixture_is_a_geometric_mean(models, chunk_tokens):
    ids, weights = random_ids(60), [0.2, 0.3, 0.5]
    mixed = np.exp(
        sum(
            weight * np.log(distributions(model, ids))
            for model, weight in zip(models, weights, strict=True)
        )
    )
    mixed /= mixed.sum(axis=1, keepdims=True)
    expected = -np.log(mixed[np.arange(59), ids[1:]])
    mixture = LogMixture(methods(models), weights)
    nats = Evaluator(mixture, chunk_tokens).token_nats(ids)
    np.testing.assert_allclose(nats, expected, rtol=1e-6, atol=1e-6)


def test_a_lone_member_gives_its_very_bits(models):
    ids = random_ids(60)
    plain = plain_evaluator(models[0]).token_nats(ids)
    for weights in ([1.0], [1.0, 0.0, 0.0]):
        mixture = LinearMixture(methods(models)[: len(weights)], weights)
        np.testing.assert_array_equal(Evaluator(mixture).token_nats(ids), plain)


@pytest.mark.parametrize("chunk_tokens", [1024, 5, 1])
def test_ngrams_score_window_by_window(ngrams, chunk_tokens):
    ids = random_ids(80, 1)
    nats = Evaluator(NGramMethod(ngrams), chunk_tokens).token_nats(ids)
    np.testing.assert_allclose(nats, -ngrams.log_probs(ids)[1:], rtol=1e-6)


def test_ngrams_score_rows_apart(ngrams):
    rows = [random_ids(11, 1), random_ids(11, 2)]
    expected = -sum(ngrams.log_probs(row)[1:].sum() for row in rows)
    score = Evaluator(NGramMethod(ngrams)).tutorial(np.concatenate(rows), 2, 5)
    assert score.tokens == 20 and score.nats == pytest.approx(expected, rel=1e-6)


def test_weights_are_the_best_of_a_grid(models, ngrams):
    ids = random_ids(200, 3)
    members = [Plain(models[0], Config()), NGramMethod(ngrams)]
    weights, score = tune_weights(members, ids)
    assert sum(weights) == pytest.approx(1)
    found = Evaluator(LinearMixture(members, weights)).exact(ids)
    assert found.nats == pytest.approx(score.nats, rel=1e-6)
    for weight in np.linspace(0, 1, 21):
        other = Evaluator(LinearMixture(members, [weight, 1 - weight])).exact(ids)
        assert score.nats <= other.nats * (1 + 1e-6)


def test_a_useless_member_gets_no_weight():
    rng = np.random.default_rng(0)
    good = rng.uniform(0.2, 0.9, 500)
    assert best_weights(np.stack([good, good / 10]))[1] < 1e-6
