"""Texts become tokens, and tokens texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.data.token_rules import TokenJoiner, TokenRules
from tests.support.corpora import ALL_RULES, LINES

RULES = TokenRules()
WORD_LETTERS = TokenRules("word", "letters")
CHAR_LETTERS = TokenRules("char", "letters")


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_line_is_closed(lines, line_end, closed):
    text = line_end.join(" ".join(words) for words in lines) + line_end * closed
    if not closed and not lines[-1]:
        lines = lines[:-1]  # Nothing follows the last line end.
    expected = [token for words in lines for token in [*words, "<eos>"]]
    assert RULES.split(text, close_lines=True) == expected


def test_blank_lines_are_lines():
    eos = "<eos>"
    expected = [eos, eos, "a", eos, eos, "b", eos, eos]
    assert RULES.split("\n\na\n \nb\n\n", close_lines=True) == expected
    assert RULES.split("", close_lines=True) == []


def test_letters():
    text = "  The Time Machine, 1895\r\n\n  by H. G. Wells\u00e9 [1898]\nI\n"
    words = "the time machine by h g wells i"
    assert WORD_LETTERS.split(text, close_lines=True) == words.split()
    assert CHAR_LETTERS.split(text, close_lines=True) == list(words + " ")


@given(st.text("aB,.\r\n \u00e9\u212a", max_size=30))
def test_letters_are_runs_of_ascii_letters(text):
    """Against a definition that looks at one character after the other."""
    letters = "".join(c if c in "aB" else " " for c in text).lower().split()
    assert WORD_LETTERS.split(text, close_lines=True) == letters
    characters = "".join(CHAR_LETTERS.split(text, close_lines=True))
    assert characters.rstrip(" ") == " ".join(letters)
    assert "  " not in characters


@pytest.mark.parametrize("rules", ALL_RULES, ids=str)
@given(data=st.data())
def test_tokens_are_joined_one_after_the_other(rules, data):
    """However they come, and so that splitting gives them back."""
    text = data.draw(st.text("aB \n\u00e9", max_size=20))
    tokens = rules.split(text, close_lines=False)
    joiner, pieces, rest = TokenJoiner(rules), [], tokens
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(joiner.add(rest[:size]))
        rest = rest[size:]
        assert joiner.at_line_start == "".join(pieces).endswith("\n")
    assert "".join(pieces) == rules.join(tokens)
    assert rules.split(rules.join(tokens), close_lines=False) == tokens


def test_tokens_become_the_text_that_a_person_writes():
    words = ["<eos>", "a", "b", "<eos>", "<eos>", "c"]
    assert TokenRules("word").join(words) == "\na b\n\nc"
    assert TokenRules("char").join("\na b\n\nc") == "\na b\n\nc"
    assert WORD_LETTERS.join(["a", "b"]) == "a b"
    assert CHAR_LETTERS.join(["a", " ", "b"]) == "a b"


def test_a_prompt_is_left_open():
    assert RULES.split("a b", close_lines=False) == ["a", "b"]
    assert RULES.split("a\nb\n", close_lines=False) == ["a", "<eos>", "b", "<eos>"]
    assert CHAR_LETTERS.split("The Time", close_lines=False) == list("the time")
