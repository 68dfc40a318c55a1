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
    DYNAMIC_TRIALS,
    FLATNESSES,
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
    said = []
    ids = np.zeros(50, np.int32)
    found = tune_dynamic(Bowl, ids, rate, decay, lambda *place: said.append(place))
    assert found.constants["dynamic_rate"] == pytest.approx(0.4)
    assert found.constants["dynamic_decay"] == pytest.approx(0.01)
    assert found.score.nats_per_token == pytest.approx(1.0)
    assert [done for done, _ in said] == list(range(1, len(said) + 1))
    assert len(said) <= DYNAMIC_TRIALS


def test_a_text_that_repeats_itself_wants_a_cache():
    model = LanguageModel(VOCAB, 6, 1, init_scale=0.9, seed=3)
    rng = np.random.default_rng(0)
    ids = np.repeat(rng.integers(0, VOCAB, (20, 5)), 6, axis=0).ravel().astype(np.int32)
    found = tune_cache(Plain(model, Config()), ids, 30)
    constants = found.constants
    assert constants["cache_weight"] > 0.3

    def nats(weight, flatness):
        cache = NeuralCache(Plain(model, Config()), 30, weight, flatness)
        return Evaluator(cache).exact(ids).nats

    best = nats(constants["cache_weight"], constants["cache_flatness"])
    assert best == pytest.approx(found.score.nats, rel=1e-6)
    for flatness in FLATNESSES[::4]:
        for weight in (0.2, 0.5, 0.8):
            assert best <= nats(weight, flatness) * (1 + 1e-6)
