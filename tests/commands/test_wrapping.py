"""Lines on a terminal are broken between words."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.commands.wrapping import LineBreaker
from ptb_lm.reports.layout import columns

WORDS = st.text("abc", min_size=1, max_size=10)
PARAGRAPHS = st.lists(st.lists(WORDS, max_size=12), min_size=1, max_size=4)


def shown(text, width, pieces=None):
    """All that is shown of a text that comes in pieces."""
    breaker = LineBreaker(width)
    given_out = [breaker.add(piece) for piece in pieces or [text]]
    return "".join(given_out) + breaker.end()


@given(PARAGRAPHS, st.integers(10, 40), st.data())
def test_as_textwrap_breaks(paragraphs, width, data):
    """However the text is cut into pieces."""
    lines = [" ".join(words) for words in paragraphs]
    text = "\n".join(lines)
    expected = "\n".join(textwrap.fill(line, width) for line in lines)
    assert shown(text, width) == expected
    cut = data.draw(st.integers(0, len(text)))
    assert shown(text, width, [text[:cut], text[cut:]]) == expected
    assert shown(text, width, list(text)) == expected


@given(st.text(st.sampled_from("ab \n日"), max_size=60), st.integers(4, 20))
def test_only_blanks_and_line_ends_change(text, width):
    found = shown(text, width)
    assert "".join(found.split()) == "".join(text.split())
    assert found.count("\n") >= text.count("\n")


def test_a_word_is_shown_when_it_ends():
    breaker = LineBreaker(20)
    assert [breaker.add(c) for c in "to be"] == ["", "", "to", "", ""]
    assert breaker.end() == " be"
    assert breaker.end() == ""


def test_a_word_longer_than_a_line():
    assert shown("a bbbbbbbbbbbb c", 5) == "a\nbbbbbbbbbbbb\nc"


def test_wide_characters():
    """They take two columns, and a line may be broken between any two."""
    assert columns("日本a") == 5 and columns("e\N{COMBINING ACUTE ACCENT}") == 1
    assert shown("日本語日本語", 5) == "日本\n語日\n本語"
    assert shown("see 日本語", 8) == "see 日本\n語"


@pytest.mark.parametrize("text", ["", "\n", "\n\n", " ", "a", "a\n\nb\n"])
def test_short_texts_stay_as_they_are(text):
    assert shown(text, 10) == text.rstrip(" ")


def test_indentation_stays():
    assert shown("a\n    b", 20) == "a\n    b"
