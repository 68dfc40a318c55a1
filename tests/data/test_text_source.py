"""Blocks of files: what they hold does not depend on their size; what is no text."""

import functools
import pathlib
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.config import DataConfig
from ptb_lm.data import text_source
from ptb_lm.data.encoding import encode_text
from ptb_lm.data.text_source import FileText
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from tests.support.corpora import SPLITS, TEXTS, load, write_folder


@given(
    lines=st.lists(st.text("ab \r\u00e9", max_size=6), min_size=1, max_size=12),
    block=st.integers(1, 9),
    token_type=st.sampled_from(["word", "char"]),
    normalize=st.sampled_from(["none", "letters"]),
    is_spaced=st.booleans(),
)
def test_blocks_do_not_change_the_tokens(
    lines, block, token_type, normalize, is_spaced
):
    """Whatever the size of a block, and of a part of a file."""
    text = "x " + "\n".join(lines)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = pathlib.Path(folder, "text.txt")
        path.write_text(text, newline="")
        patch.setattr(text_source, "BLOCK_BYTES", block)
        begin = len(text.encode().partition(b"\n")[0]) + 1
        whole = FileText(name="text", path=path)
        parts = [
            FileText(name="", path=path, end=begin),
            FileText(name="", path=path, begin=begin),
        ]
        rules = TokenRules(token_type, normalize)
        split = functools.partial(rules.split, close_lines=True)
        if is_spaced:
            split = rules.split_spaced
        expected = split(text)
        for sources in ([whole], parts):
            blocks = [block for source in sources for block in source.blocks()]
            found = [token for block in blocks for token in split(block.text)]
            assert found == expected


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("split", SPLITS)
def test_bytes_that_are_not_utf8_are_named(tmp_path, split, mark):
    write_folder(tmp_path, TEXTS)
    path = tmp_path / f"ptb.{split}.txt"
    path.write_bytes(mark + b"one\ntwo\ncaf\xe9\nfour\n\xe8\n")
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert f"{path}, line 3: not UTF-8 text (byte 0xe9)" in str(caught.value)


def test_byte_order_mark_does_not_shift_the_line(tmp_path):
    """The three bytes of the mark are not counted by the decoder's position."""
    path = tmp_path / "story.txt"
    path.write_bytes(b"\xef\xbb\xbfa\n\xe9\n")
    with pytest.raises(UserError, match=r"line 2: not UTF-8 text \(byte 0xe9\)"):
        source = FileText(name=str(path), path=path)
        encode_text(source, Vocabulary(["a", "<eos>"]), DataConfig())


def test_utf16_is_not_utf8(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("some words\n" * 100, encoding="utf-16")
    with pytest.raises(UserError, match=r"story.txt, line 1: not UTF-8"):
        load(path)


def test_binary_file(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"text\n\x00\x01\n" * 99)
    with pytest.raises(UserError, match=r"model.bin, line 2: a zero byte: not a text"):
        load(path)
