"""Bootstrap intervals: how often they hold the truth, where the truth is known."""

import itertools
import math

import numpy as np
import pytest

from ptb_lm.data.english import ENGLISH
from ptb_lm.evaluation.confidence import (
    Sentences,
    perplexity_interval,
    ratio_interval,
)

LINES = 200


def draws(count, seed, lines=LINES):
    """Texts of the built-in grammar, as the grammar itself scores them.

    Their true perplexity is exp of the entropy rate, whatever the model of a user is.
    """
    sentences = ENGLISH.sentences(seed)
    for _ in range(count):
        text = list(itertools.islice(sentences, lines))
        nats = [-ENGLISH.log_probability(words) for words in text]
        yield Sentences(np.array(nats), np.array([len(words) + 1 for words in text]))


def test_tokens_are_added_up_by_sentence():
    ids = np.array([7, 5, 0, 4, 4, 4, 0, 0, 3])
    nats = np.arange(1.0, 9.0)
    found = Sentences.of(nats, ids, line_end=0)
    assert found.nats.tolist() == [1 + 2, 3 + 4 + 5 + 6, 7, 8]
    assert found.tokens.tolist() == [2, 4, 1, 1]
    assert Sentences.of(nats, ids, None).nats.tolist() == nats.tolist()


@pytest.mark.slow
def test_a_95_percent_interval_holds_the_truth_in_95_of_100_draws():
    """Of 500 texts that the grammar writes: within two standard errors of 0.95."""
    truth, held = math.exp(ENGLISH.entropy_rate()), 0
    for seed, sentences in enumerate(draws(500, seed=2**40)):
        interval = perplexity_interval(sentences, 0.95, seed)
        held += interval.low <= truth <= interval.high
    assert 0.93 <= held / 500 <= 0.97


def test_a_pair_is_told_apart_sooner_than_its_perplexities():
    (first,) = draws(1, seed=1)
    noise = np.random.default_rng(1).normal(0, 0.05, LINES)
    second = Sentences(first.nats * 1.02 + noise, first.tokens)
    ratio = ratio_interval(first, second, 0.95)
    assert ratio.high < 1
    assert ratio.low <= math.exp(-0.02 * ENGLISH.entropy_rate()) <= ratio.high
    alone = [perplexity_interval(each, 0.95) for each in (first, second)]
    assert alone[0].high > alone[1].low


def test_a_model_beside_itself_has_the_ratio_one():
    (first,) = draws(1, seed=2)
    assert ratio_interval(first, first, 0.95) == ratio_interval(first, first, 0.5)


def test_more_confidence_needs_a_wider_interval():
    (sentences,) = draws(1, seed=3)
    wide, narrow = (perplexity_interval(sentences, c) for c in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high
