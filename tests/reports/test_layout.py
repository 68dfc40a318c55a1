"""Tables as Markdown and in a terminal; no name is taken for markup."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.reports.layout import (
    LONGEST_NAME,
    columns,
    markdown_cell,
    markdown_table,
    markdown_text,
    printable,
    shortened,
    text_table,
)

TITLES = ("run", "seed", "published\nvalid / test", "empty", "test")
IMPORTANCE = ("run", "test", "published\nvalid / test", "seed", "empty")
ROWS = [
    {"run": "a", "seed": "1", "test": "113.90", "published\nvalid / test": "1 / 2"},
    {"run": "longer", "seed": "12", "test": "9.00"},
]


def test_markdown_has_every_column_that_is_not_empty():
    assert markdown_table(TITLES, ROWS) == (
        "| run | seed | published valid / test | test |\n"
        "|---|--:|--:|--:|\n"
        "| a | 1 | 1 / 2 | 113.90 |\n"
        "| longer | 12 |  | 9.00 |\n"
    )


def test_a_terminal_gets_columns_as_they_fit():
    whole, left_out = text_table(TITLES, ROWS, 80, IMPORTANCE)
    assert left_out == []
    assert whole == (
        "                 published\n"
        "run     seed  valid / test    test\n"
        "a          1         1 / 2  113.90\n"
        "longer    12                  9.00\n"
    )
    assert max(map(len, whole.splitlines())) == 34
    narrow, left_out = text_table(TITLES, ROWS, 33, IMPORTANCE)
    assert narrow.splitlines()[1] == "run     valid / test    test"
    assert left_out == ["seed"]
    least, left_out = text_table(TITLES, ROWS, 3, IMPORTANCE)
    assert least == "run\na\nlonger\n"
    assert left_out == ["seed", "published\nvalid / test", "test"]


def test_wide_and_combining_characters_stand_in_columns():
    rows = [{"run": "日本語", "seed": "1"}, {"run": "e\u0301", "seed": "22"}]
    whole, _ = text_table(("run", "seed"), rows, 80, ("run", "seed"))
    assert whole == "run     seed\n日本語     1\ne\u0301         22\n"
    assert columns(shortened("日" * 30)) <= LONGEST_NAME


def test_a_title_is_no_markup():
    table = markdown_table(
        ("run", "<unk>\nin test"), [{"run": "a", "<unk>\nin test": "1"}]
    )
    assert table.startswith("| run | `<unk> in test` |\n")


@given(st.integers(10, 120))
def test_no_line_is_longer_than_the_terminal(width):
    lines = text_table(TITLES, ROWS, width, IMPORTANCE)[0].splitlines()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    "text, shown",
    [
        ("timemachine_char-gru", "timemachine_char-gru"),
        ("small, vocabulary of 10,000 words", "small, vocabulary of 10,000 words"),
        ("a|b", "`a|b`"),
        ("<b>x</b>", "`<b>x</b>`"),
        ("_x_", "`_x_`"),
        ("a`b", "`` a`b ``"),
        ("$x$", "`$x$`"),
        ("[a](b)", "`[a](b)`"),
        ("two\nlines", "`'two\\nlines'`"),
        ("\x1b[31m", "`'\\x1b[31m'`"),
        ("&lt;", "`&lt;`"),
    ],
)
def test_markup_is_shown_as_it_is(text, shown):
    assert markdown_text(text) == shown


@given(st.text(min_size=1))
def test_a_name_stays_in_its_cell(name):
    row = markdown_table(("run", "n"), [{"run": name, "n": "1"}]).split("\n")[2]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert row.endswith(" | 1 |") and row.isprintable()
    shown = text_table(("run",), [{"run": name}], 80, ("run",))[0]
    assert shown.count("\n") == 2 and len(shown.split("\n")[1]) <= 24


def test_a_bar_ends_no_cell():
    assert markdown_cell("a|b") == "`a\\|b`"
    assert markdown_cell("<unk>") == "`<unk>`"


def test_a_long_name_loses_its_middle():
    assert shortened("x" * 24) == "x" * 24
    assert shortened("a" * 20 + "b" * 20) == "a" * 11 + "…" + "b" * 12
    assert printable("\x1b[2J") == r"'\x1b[2J'"
