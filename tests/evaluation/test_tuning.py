"""Tuning: what is found is a best one of its neighbours, and its score is true."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.neural_cache import NeuralCache
from ptb_lm.evaluation.plain import Plain
from ptb_lm.evaluation.tuning import (
    MOST_TRIALS,
    descend,
    tune_cache,
    tune_dynamic,
)
from ptb_lm.model.language_model import LanguageModel

VOCAB = 9


class Bowl:
    """A method whose nats are lowest at the rate 0.4 and the decay 0.01."""

    def __init__(self, rate, decay):
        if rate > 2:
            raise UserError("it diverges")
        distances = math.log2(rate / 0.4), math.log2(decay / 0.01)
        self.nats = 1.0 + sum(distance**2 for distance in distances)

    def begin(self, batch_size):
        pass

    def end(self):
        pass

    def score(self, inputs, targets):
        return tf.fill(targets.shape, self.nats)


@pytest.mark.parametrize("rate, decay", [(0.1, 0.04), (1.6, 0.005), (0.4, 0.01)])
def test_rate_and_decay_are_the_best_by_factors_of_two(rate, decay):
    shown, said = [], []
    ids = np.zeros(50, np.int32)
    found = tune_dynamic(
        Bowl, ids, rate, decay, lambda *place: shown.append(place), said.append
    )
    assert found.constants["dynamic_rate"] == pytest.approx(0.4)
    assert found.constants["dynamic_decay"] == pytest.approx(0.01)
    assert found.score.nats_per_token == pytest.approx(1.0)
    assert len(said) <= MOST_TRIALS
    assert said[0] == (
        f"trial 1 of at most 16: dynamic_rate {rate:g}, dynamic_decay {decay:g}:"
        f" perplexity {math.exp(Bowl(rate, decay).nats):.3f}"
    )
    done = [place[0] for place in shown]
    assert done == sorted(done) and done[0] == 49
    assert {place[1] for place in shown} == {49 * MOST_TRIALS}


def test_a_best_place_far_away_is_found():
    far = 3.0 * 2**11, 5.0 / 2**9

    def nats(place):
        return sum(math.log2(x / y) ** 2 for x, y in zip(place, far, strict=True))

    assert descend(nats, (3.0, 5.0)) == far


def test_a_rate_that_diverges_wherever_it_is_tried_is_an_error():
    with pytest.raises(UserError, match="--tune: the weights diverge at the rate 64"):
        tune_dynamic(Bowl, np.zeros(9, np.int32), 64.0, 0.01)


class Counted(Plain):
    """The plain method, which counts what it reads."""

    tokens = 0

    def score_with_features(self, inputs, targets):
        self.tokens += inputs.shape[1]
        return super().score_with_features(inputs, targets)


def test_a_text_that_repeats_itself_wants_a_cache():
    model = LanguageModel(VOCAB, 6, 1, init_scale=0.9, seed=3)
    rng = np.random.default_rng(0)
    ids = np.repeat(rng.integers(0, VOCAB, (20, 5)), 6, axis=0).ravel().astype(np.int32)
    method, said = Counted(model, Config()), []
    found = tune_cache(method, ids, 30, 0.3, say=said.append)
    assert method.tokens == len(ids) - 1 and len(said) > 3  # trials read nothing again
    constants = found.constants
    assert constants["cache_weight"] > 0.3

    def nats(weight, flatness):
        cache = NeuralCache(Plain(model, Config()), 30, weight, flatness)
        return Evaluator(cache).exact(ids).nats

    weight, flatness = constants["cache_weight"], constants["cache_flatness"]
    best = nats(weight, flatness)
    assert best == pytest.approx(found.score.nats, rel=1e-6)
    for other in (flatness / 2, flatness * 2):
        assert best <= nats(weight, other) * (1 + 1e-6)
        assert best <= nats(0.5, other)
    for other in (weight - 0.05, weight + 0.05):
        assert best <= nats(other, flatness)


def test_where_no_token_returns_the_cache_has_no_weight():
    """But for one token, so that its best weight is near zero and not zero."""
    ids = np.tile(np.arange(VOCAB), 40).astype(np.int32)
    ids[5] = ids[4]
    method = Plain(LanguageModel(VOCAB, 6, 1, seed=3), Config())
    assert tune_cache(method, ids, 3, 0.3).constants["cache_weight"] == 0.0
