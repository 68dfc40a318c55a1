"""The grammar's closed forms against brute force, sampling and known English."""

import hashlib
import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.data.grammar import ENGLISH, Grammar, builtin_corpus

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

SHA256 = {
    "train": "d5e1d059294c0b39496e12c5789948293399bed6f6e102cdd37967ced46e6460",
    "valid": "1f24b59e9d361048e333d8a48060dd2dca91881adc9c1f6533120595ac888c7e",
    "test": "509ff70206dc326ebee1dabc37cd695d5c6baef5efa4ef195cc37d17dab606b8",
}


@pytest.fixture(scope="module")
def corpus():
    return builtin_corpus()


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


def grammatical(text):
    return ENGLISH.is_grammatical(text.split())


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


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("the dogs run", "the dogs runs"),
        ("the dog runs", "the dog run"),
        ("every boy sleeps", "every boys sleep"),
        ("some boys sleep", "some boy sleeps"),
        ("the king does not sleep", "the king do not sleep"),
        ("the king does not sleep", "the king does not sleeps"),
        ("the boys near the river sing", "the boys near the river sings"),
        ("the boy with the dogs sings", "the boy with the dogs sing"),
        (
            "the dogs that the farmer near the rivers feeds run",
            "the dogs that the farmer near the rivers feeds runs",
        ),
        (
            "the dogs that the farmer near the rivers feeds run",
            "the dogs that the farmer near the rivers feed run",
        ),
        (
            "the king who the sailors who feed the dogs admire sleeps",
            "the king who the sailors who feed the dogs admire sleep",
        ),
        (
            "the king who the sailors who feed the dogs admire sleeps",
            "the king who the sailors who feed the dogs admires sleeps",
        ),
        ("the boy who feeds the dogs sings", "the boy who feed the dogs sings"),
        (
            "the queen who the kings love waits because she sings",
            "the queen who the kings love waits because he sings",
        ),
        (
            "the dogs that the queen feeds hide and sleep",
            "the dogs that the queen feeds hide and sleeps",
        ),
    ],
)
def test_agreement_holds_across_what_stands_between(good, bad):
    assert grammatical(good)
    assert not grammatical(bad)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the dogs",
        "the dogs run run",
        "the dogs run <eos>",
        "the dog that the farmer feeds",
        "the boy who the girl sleeps sings",  # an object gap needs its verb
        "the boy reads a house",
        "the boy eats a house",
        "the dog reads a book",
        "the unicorn sleeps",
        "The dogs run",
    ],
)
def test_what_is_no_sentence_has_no_probability(text):
    assert ENGLISH.log_probability(text.split()) == -math.inf


def test_clauses_nest_to_a_depth_of_two():
    two = "the boy who the girl who the king loves helps sings"
    three = "the boy who the girl who the king who the queen helps loves helps sings"
    assert grammatical(two)
    assert not grammatical(three)


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


def test_corpus_is_the_same_for_ever(corpus):
    found = {k: hashlib.sha256(text.encode()).hexdigest() for k, text in corpus.items()}
    assert found == SHA256


def test_corpus_has_ptb_form_and_its_sizes(corpus):
    for split, wanted in (("train", 100_000), ("valid", 10_000), ("test", 10_000)):
        text = corpus[split]
        assert text.endswith("\n") and "<eos>" not in text
        lines = text[:-1].split("\n")
        assert all(line == " ".join(line.split()) != "" for line in lines)
        tokens = sum(len(line.split()) + 1 for line in lines)
        assert wanted <= tokens < wanted + 60


def test_every_word_is_frequent_enough_to_be_learnt(corpus):
    count = Counter(corpus["train"].split())
    assert sorted(count) == ENGLISH.words()
    assert min(count.values()) >= 30
    assert set(corpus["valid"].split()) | set(corpus["test"].split()) <= set(count)
    assert 200 <= len(count) <= 400


def test_splits_share_few_sentences(corpus):
    train = set(corpus["train"].splitlines())
    for split in ("valid", "test"):
        lines = corpus[split].splitlines()
        assert sum(line in train for line in lines) < 0.1 * len(lines)


def test_the_floor_lies_well_below_what_bigrams_can_know(corpus):
    assert 8 < math.exp(ENGLISH.entropy_rate()) < 20
    # The conditional entropy that train itself shows flatters the bigrams.
    tokens = corpus["train"].replace("\n", " <eos> ").split()
    pairs = Counter(itertools.pairwise(tokens))
    first = Counter(tokens[:-1])
    nats = -math.fsum(n * math.log(n / first[a]) for (a, _), n in pairs.items())
    assert nats / (len(tokens) - 1) > ENGLISH.entropy_rate() + math.log(1.5)


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
