"""The built-in English: what it can say, and the corpus that it writes."""

import hashlib
import itertools
import math
from collections import Counter

import pytest

from ptb_lm.data.english import ENGLISH, builtin_corpus

SHA256 = {
    "train": "d5e1d059294c0b39496e12c5789948293399bed6f6e102cdd37967ced46e6460",
    "valid": "1f24b59e9d361048e333d8a48060dd2dca91881adc9c1f6533120595ac888c7e",
    "test": "509ff70206dc326ebee1dabc37cd695d5c6baef5efa4ef195cc37d17dab606b8",
}


@pytest.fixture(scope="module")
def corpus():
    return builtin_corpus()


def grammatical(text):
    return ENGLISH.is_grammatical(text.split())


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
