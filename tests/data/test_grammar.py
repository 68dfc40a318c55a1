"""A grammar's closed forms against brute force and sampling."""

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.data.english import ENGLISH
from ptb_lm.data.grammar import Grammar

# Written by hand: an empty production, a shared word, a nonterminal used twice.
TINY = Grammar(
    {
        "S": [(0.25, "a T"), (0.75, "b T c T")],
        "T": [(0.5, ""), (0.3, "a"), (0.2, "d U")],
        "U": [(0.6, "b"), (0.4, "d")],
    }
)
# Recursive, so its sentences have no longest one: a^n b^n with n geometric.
NESTED = Grammar({"S": [(0.4, "a S b"), (0.6, "")]})


@pytest.fixture(scope="module")
def sentences():
    """Sentences of a seed that is not one of the corpus, as lists of words."""
    return [text.split() for text in ENGLISH.generate(60_000, seed=12345)]


def tiny_sentences():
    """Every sentence of TINY and its probability, worked out by hand."""
    tails = {"": 0.5, "a": 0.3, "d b": 0.12, "d d": 0.08}
    for tail, p in tails.items():
        yield f"a {tail}".split(), 0.25 * p
    for (left, p), (right, q) in itertools.product(tails.items(), repeat=2):
        yield f"b {left} c {right}".split(), 0.75 * p * q


def mean_and_error(values):
    mean = math.fsum(values) / len(values)
    variance = math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def test_tiny_grammar_gives_each_sentence_its_probability():
    table = list(tiny_sentences())
    assert math.fsum(p for _, p in table) == pytest.approx(1)
    for words, p in table:
        assert TINY.log_probability(words) == pytest.approx(math.log(p))


def test_tiny_grammar_gives_every_other_string_nothing():
    known = {tuple(words) for words, _ in tiny_sentences()}
    for length in range(7):
        for words in itertools.product("abcd", repeat=length):
            assert TINY.is_grammatical(words) == (words in known), words


def test_tiny_entropy_and_length_are_those_of_the_enumeration():
    entropy = -math.fsum(p * math.log(p) for _, p in tiny_sentences())
    length = math.fsum(p * (len(words) + 1) for words, p in tiny_sentences())
    assert TINY.expected_length() == pytest.approx(length, rel=1e-12)
    assert TINY.entropy_rate() == pytest.approx(entropy / length, rel=1e-12)


def test_tiny_samples_have_the_frequencies_of_the_enumeration():
    count = Counter(TINY.generate(80_000, seed=3))
    total = count.total()
    for words, p in tiny_sentences():
        error = math.sqrt(p * (1 - p) / total)
        assert abs(count[" ".join(words)] / total - p) < 4.5 * error, words


def test_recursive_grammar_has_the_geometric_closed_form():
    depth = 0.4 / 0.6  # the mean of a geometric number of nestings
    nats = -(math.log(0.6) + depth * math.log(0.4))
    assert NESTED.expected_length() == pytest.approx(2 * depth + 1)
    assert NESTED.entropy_rate() == pytest.approx(nats / (2 * depth + 1))
    assert NESTED.next_token_distribution("aab") == {"b": 1.0}
    assert NESTED.next_token_distribution("aabb") == {"<eos>": 1.0}


def test_entropy_rate_agrees_with_the_sampled_sentences(sentences):
    # A ratio of means: the residuals nats - rate * length have mean zero.
    rate = ENGLISH.entropy_rate()
    residuals = [
        -ENGLISH.log_probability(words) - rate * (len(words) + 1) for words in sentences
    ]
    mean, error = mean_and_error(residuals)
    assert abs(mean) < 4 * error
    assert error / ENGLISH.expected_length() < 0.01 * rate  # it could have failed


def test_expected_length_agrees_with_the_sampled_sentences(sentences):
    mean, error = mean_and_error([len(words) + 1 for words in sentences])
    assert abs(mean - ENGLISH.expected_length()) < 4 * error


def test_entropy_rate_is_the_mean_entropy_of_the_next_token(sentences):
    rate = ENGLISH.entropy_rate()
    residuals = []
    for words in sentences[:700]:
        nats = 0.0
        for position in range(len(words) + 1):
            next_token = ENGLISH.next_token_distribution(words[:position])
            nats -= math.fsum(p * math.log(p) for p in next_token.values())
        residuals.append(nats - rate * (len(words) + 1))
    mean, error = mean_and_error(residuals)
    assert abs(mean) < 4 * error
    assert error / ENGLISH.expected_length() < 0.02 * rate


def test_next_token_distributions_sum_to_one_and_chain_to_the_sentence(sentences):
    for words in sentences[:150]:
        product = 1.0
        for position, token in enumerate([*words, "<eos>"]):
            next_token = ENGLISH.next_token_distribution(words[:position])
            assert math.fsum(next_token.values()) == pytest.approx(1, abs=1e-12)
            product *= next_token[token]
        assert product == pytest.approx(math.exp(ENGLISH.log_probability(words)))


def test_words_without_probability_do_break_the_sentence(sentences):
    rng = random.Random(5)
    for words in sentences[:60]:
        position = rng.randrange(len(words))
        possible = ENGLISH.next_token_distribution(words[:position])
        for word in ENGLISH.words():
            prefix = [*words[:position], word]
            if word in possible:
                assert ENGLISH.next_token_distribution(prefix)
            else:
                with pytest.raises(ValueError, match="no sentence begins with"):
                    ENGLISH.next_token_distribution(prefix)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), data=st.data())
def test_generated_sentences_are_grammatical_and_swaps_stay_consistent(seed, data):
    words = ENGLISH.generate(1, seed)[0].split()
    assert ENGLISH.is_grammatical(words)
    position = st.integers(0, len(words) - 1)
    i, j = data.draw(position), data.draw(position)
    swapped = list(words)
    swapped[i], swapped[j] = words[j], words[i]
    chained = 0.0
    for place, token in enumerate([*swapped, "<eos>"]):
        p = ENGLISH.next_token_distribution(swapped[:place]).get(token, 0.0)
        if p == 0:
            chained = -math.inf
            break
        chained += math.log(p)
    assert ENGLISH.log_probability(swapped) == pytest.approx(chained)
    assert ENGLISH.is_grammatical(swapped) == (chained > -math.inf)


def test_a_shuffled_sentence_is_rarely_grammatical(sentences):
    rng = random.Random(7)
    long = [words for words in sentences if len(words) >= 8][:500]
    kept = sum(ENGLISH.is_grammatical(rng.sample(w, len(w))) for w in long)
    assert kept < 0.02 * len(long)


def test_generate_stops_at_the_sentence_that_reaches_the_count():
    for wanted in (1, 10, 1000):
        lengths = [len(text.split()) + 1 for text in ENGLISH.generate(wanted, seed=4)]
        assert sum(lengths[:-1]) < wanted <= sum(lengths)
    assert ENGLISH.generate(0, seed=4) == []


def test_generate_depends_on_the_seed_alone():
    once = ENGLISH.generate(500, seed=8)
    random.seed(0)
    assert ENGLISH.generate(500, seed=8) == once
    assert ENGLISH.generate(900, seed=8)[: len(once)] == once
    assert ENGLISH.generate(500, seed=9) != once


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"S": [(0.5, "a"), (0.4, "b")]}, "sum to"),
        ({"S": [(1.5, "a"), (-0.5, "b")]}, "never used"),
        ({"S": [(1.0, "a"), (0.0, "b")]}, "never used"),
        ({"S": []}, "sum to"),
        ({"S": [(math.nan, "a")]}, "sum to"),
        ({"T": [(1.0, "a")]}, "start symbol"),
        ({"S": [(1.0, "a T")]}, "has no productions"),
        ({"S": [(1.0, "a")], "T": [(1.0, "b")]}, "no sentence uses T"),
        ({"S": [(1.0, "a <eos>")]}, "<eos>"),
        ({"S": [(1.0, "t")], "t": [(1.0, "b")]}, "upper case"),
        # Ambiguous, or not decided by the next word.
        ({"S": [(0.5, "a b"), (0.5, "a c")]}, "not LL"),
        ({"S": [(0.5, "T"), (0.5, "a")], "T": [(1.0, "a")]}, "not LL"),
        ({"S": [(0.5, ""), (0.5, "T")], "T": [(0.5, "a"), (0.5, "")]}, "not LL"),
        ({"S": [(1.0, "T a")], "T": [(0.5, "a"), (0.5, "")]}, "not LL"),
        ({"S": [(0.5, "S a"), (0.5, "b")]}, "not LL"),
        ({"S": [(0.3, "a S S"), (0.3, "a"), (0.4, "b")]}, "not LL"),
        # No finite mean length: never ending, critical, supercritical.
        ({"S": [(1.0, "a S")]}, "infinite"),
        ({"S": [(1.0, "S")]}, "infinite"),
        ({"S": [(0.5, "a S S"), (0.5, "b")]}, "infinite"),
        ({"S": [(0.7, "a S S"), (0.3, "b")]}, "infinite"),
    ],
)
def test_improper_grammars_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        Grammar(rules)


def test_a_prefix_that_no_sentence_has_is_refused():
    with pytest.raises(ValueError, match="begins with the dogs runs"):
        ENGLISH.next_token_distribution(["the", "dogs", "runs", "home"])
    with pytest.raises(ValueError, match="begins with the dogs run <eos>"):
        ENGLISH.next_token_distribution(["the", "dogs", "run", "<eos>"])
