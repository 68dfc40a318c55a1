"""Characters added up to words: every one in one word, and the total as it was."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.inference.scored_text import scored_text

VOCABULARY = Vocabulary([*" \nabc"])


def scored(text, first=1.0, leaves_out=True):
    """A text whose characters have 1, 2, 4, ... nats."""
    kept = [character for character in text if character in VOCABULARY]
    nats = [2.0**place for place in range(len(kept))]
    nats[:1] = [first]
    return scored_text([*text], nats, VOCABULARY, "\n", leaves_out=leaves_out)


def test_a_word_has_its_characters_and_the_blank_after_it():
    rows = scored("ab c\na").by_word().rows
    assert [(row.written, row.nats, row.line) for row in rows] == [
        ("ab", 1 + 2 + 4, 0),
        ("c", 8 + 16, 0),
        ("a", 32, 1),
    ]


def test_blanks_before_the_first_word_count_with_it():
    rows = scored("\n a  b\n\n").by_word().rows
    assert [(row.written, row.nats, row.line) for row in rows] == [
        ("a", 1 + 2 + 4 + 8 + 16, 1),
        ("b", 32 + 64 + 128, 1),
    ]
    (row,) = scored(" \n").by_word().rows
    assert row.nats == 3


def test_a_first_character_that_is_not_counted_is_missing_in_its_word():
    words = scored("ab c", first=None).by_word()
    assert [row.nats for row in words.rows] == [2 + 4, 8]
    assert scored("a", first=None).by_word().rows[0].nats is None


def test_a_word_is_unknown_if_one_of_its_characters_is():
    words = scored("az b zz c").by_word()
    assert [row.written for row in words.rows] == ["az", "b", "zz", "c"]
    assert [row.is_unknown for row in words.rows] == [True, False, True, False]
    assert words.tokens == ["a", "b", "", "c"]
    assert words.unknown_tokens == 2 and words.unknown.left_out == 0


# The nats of a token are twice those of the one before it: not too many tokens.
@given(st.text(" \nabz", min_size=1, max_size=13), st.booleans())
def test_the_total_is_exact(text, is_first_counted):
    characters = scored(text, 1.0 if is_first_counted else None)
    words = characters.by_word()
    assert words.score.nats == characters.score.nats
    spelled = "".join(row.written for row in words.rows)
    assert "".join(spelled.split()) == "".join(text.split())
    assert [row.written for row in words.rows if row.written.split()] == text.split()


def test_unknown_words_may_be_left_out_of_the_sum():
    vocabulary = Vocabulary(["<unk>", "<eos>", "a"])
    tokens = ["a", "cat", "a", "<unk>", "<eos>"]
    text = scored_text(
        tokens, [None, 2.0, 3.0, 4.0, 5.0], vocabulary, "<eos>", leaves_out=False
    )
    assert text.tokens == ["a", "<unk>", "a", "<unk>", "<eos>"]
    assert text.unknown_tokens == 2 and text.unknown.share == 0.4
    assert (text.score.nats, text.score.tokens) == (14, 4)
    without = type(text)(text.rows, counts_unknown=False)
    assert (without.score.nats, without.score.tokens) == (8, 2)
    assert without.score.perplexity == pytest.approx(math.exp(4))
    assert without.nats == text.nats
