"""Pairs of the built-in language: what differs in them, and what stands between."""

import re

import pytest

from ptb_lm.data.agreement import agreement_pairs
from ptb_lm.data.english import ENGLISH, builtin_corpus


@pytest.fixture(scope="module")
def pairs():
    return agreement_pairs(60, seed=1)


def test_as_many_as_asked_for_and_none_twice(pairs):
    assert [pair.attractors for pair in pairs] == [0] * 60 + [1] * 60 + [2] * 60
    assert len({pair.good for pair in pairs}) == 180


def test_one_verb_makes_the_difference(pairs):
    """A final s, or does and do; of a word that the training text has."""
    known = set(builtin_corpus()["train"].split())
    for pair in pairs:
        good, bad = pair.good.split(), pair.bad.split()
        assert len(good) == len(bad) and {*good, *bad} <= known
        ((one, other),) = [
            two for two in zip(good, bad, strict=True) if two[0] != two[1]
        ]
        shorter, longer = sorted((one, other), key=len)
        assert re.fullmatch(rf"{shorter[:-1]}(\w|\wes|\ws|ies)", longer), pair


def test_the_good_sentence_is_grammatical_and_the_bad_one_is_not(pairs):
    for pair in pairs:
        assert ENGLISH.is_grammatical(pair.good.split())
        assert not ENGLISH.is_grammatical(pair.bad.split())


def test_the_verb_is_that_of_the_main_clause(pairs):
    """What is before it can end in no other number: the subject has decided it."""
    for pair in pairs:
        words = pair.good.split()
        verb = next(i for i, w in enumerate(pair.bad.split()) if w != words[i])
        allowed = ENGLISH.next_token_distribution(words[:verb])
        assert words[verb] in allowed and pair.bad.split()[verb] not in allowed


@pytest.mark.parametrize(
    "good, bad, attractors",
    [
        ("the boy sings", "the boy sing", 0),
        ("the dogs do not run", "the dogs does not run", 0),
        ("at noon the boy who sings often works", None, 0),
        ("the boy near the rivers sings", "the boy near the rivers sing", 1),
        ("the boy near the river sings", "left out", None),
        (
            "the dogs that the baker who repairs a wall feeds hide",
            "the dogs that the baker who repairs a wall feeds hides",
            2,
        ),
        ("the dogs that the teachers who repair a wall feed hide", "left out", None),
    ],
)
def test_attractors_are_the_nouns_of_the_other_number(good, bad, attractors):
    from ptb_lm.data import agreement

    pair = agreement._pair(good.split())
    if bad == "left out":
        assert pair is None
    else:
        assert pair.attractors == attractors
        assert bad is None or pair.bad == bad


def test_a_seed_chooses_them():
    assert agreement_pairs(5, seed=2) != agreement_pairs(5, seed=3)
    few, more = agreement_pairs(5, seed=2), agreement_pairs(9, seed=2)
    assert [p for p in few if p.attractors == 1] == [
        p for p in more if p.attractors == 1
    ][:5]


def test_words_are_parsed():
    above = ENGLISH.parse(["the", "boy", "sings"])
    assert above[1][-2:] == ("CLAUSE_0_HEAD_ANY", "MAN")
    assert above[2][-2:] == ("VERB_PHRASE_PERSON_SG_0", "REST_SG")
    with pytest.raises(ValueError, match="no sentence begins with the boys sings"):
        ENGLISH.parse(["the", "boys", "sings"])
    with pytest.raises(ValueError, match="no sentence begins with"):
        ENGLISH.parse(["the", "boy", "sings", "quietly", "quietly", "quietly"])
