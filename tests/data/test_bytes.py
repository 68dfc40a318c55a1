"""Bytes as tokens: any file comes back as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.config import DataConfig
from ptb_lm.data import text_source
from ptb_lm.data.byte_tokens import BYTE_NAMES, bytes_of, names_of, to_bytes, to_text
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.token_rules import TokenJoiner, TokenRules
from ptb_lm.errors import UserError
from tests.support.corpora import HARD_TEXTS, SPLITS, load

RULES = TokenRules("byte")
# Parts of characters, a byte order mark, half a surrogate pair, and any bytes.
PIECES = ["\u4f60".encode(), b"\xe4\xbd", b"\xf0\x9f\x98", b"\xef\xbb\xbf", b"\xed\xa0"]
DATA = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4))).map(b"".join)


def test_a_name_is_a_byte():
    assert len(set(BYTE_NAMES)) == 256
    assert BYTE_NAMES[10] == "\n" == RULES.line_end
    assert names_of("a\u00e4".encode()) == ["a", "<0xC3>", "<0xA4>"]
    assert bytes_of(BYTE_NAMES) == bytes(range(256))


@given(DATA)
def test_any_bytes_survive_being_a_text(data):
    assert to_bytes(to_text(data)) == data
    assert bytes_of(RULES.split(to_text(data), close_lines=True)) == data


@given(HARD_TEXTS)
def test_texts_come_back(text):
    assert RULES.join(RULES.split(text, close_lines=True)) == text


@given(DATA, st.data())
def test_what_is_written_is_utf8_however_it_comes(data, drawn):
    joiner, pieces, rest = TokenJoiner(RULES), [], names_of(data)
    while rest:
        size = drawn.draw(st.integers(1, len(rest)))
        pieces.append(joiner.add(rest[:size]))
        rest = rest[size:]
    pieces.append(joiner.end())
    assert "".join(pieces) == data.decode("utf-8", "replace")
    for piece in pieces:
        piece.encode()  # fails where half of a surrogate pair is in it
    assert joiner.at_line_start == ("".join(pieces) or "\n").endswith("\n")


def test_part_of_a_character_is_held_back():
    joiner, names = TokenJoiner(RULES), names_of("\u4f60".encode())
    assert [joiner.add([name]) for name in names] == ["", "", "\u4f60"]


@pytest.mark.parametrize("block", [1, 3, 1 << 22])
@pytest.mark.parametrize("with_cache", [True, False])
def test_files_come_back(tmp_path, monkeypatch, block, with_cache):
    """With zero bytes, all kinds of line ends, and none at the end."""
    monkeypatch.setattr(text_source, "BLOCK_BYTES", block)
    if not with_cache:
        monkeypatch.setenv("PTB_LM_CACHE", "/proc/none")
    texts = {
        "train": bytes(range(256)) * 2,
        "valid": b"\xef\xbb\xbf\r\n\0\xff",
        "test": b"\n\n no end",
    }
    for split, data in texts.items():
        (tmp_path / f"{split}.txt").write_bytes(data)
    corpus = load(tmp_path, token_type="byte")
    assert corpus.vocabulary.tokens == BYTE_NAMES
    assert corpus.vocabulary.unknown_id is None
    for split, data in texts.items():
        assert corpus.splits[split].astype(np.uint8).tobytes() == data


def joined(path):
    """The three splits of a corpus of bytes, one after the other; and their lengths."""
    splits = load(path, token_type="byte").splits
    pieces = [splits[split].astype(np.uint8).tobytes() for split in SPLITS]
    return b"".join(pieces), list(map(len, pieces))


def test_a_file_is_split_by_bytes_as_enwik8_and_text8_are(tmp_path):
    data = bytes(np.random.default_rng(1).integers(0, 256, 1000, np.uint8))
    (tmp_path / "all").write_bytes(data)
    assert joined(tmp_path / "all") == (data, [900, 50, 50])
    for number, (begin, end) in enumerate([(0, 1), (1, 940), (940, 940), (940, 1000)]):
        (tmp_path / f"part-{number}").write_bytes(data[begin:end])
    assert joined(tmp_path / "part-*") == (data, [900, 50, 50])


def test_errors_name_the_file_and_the_way_out(tmp_path):
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(UserError, match="short: 3 bytes are too few"):
        load(tmp_path / "short", token_type="byte")
    for split in SPLITS:
        (tmp_path / f"{split}.txt").write_bytes(b"" if split == "test" else b"x")
    with pytest.raises(UserError, match=r"test\.txt: the test text is empty"):
        load(tmp_path, token_type="byte")
    for name, value in {"normalize": "letters", "min_count": 2}.items():
        with pytest.raises(UserError, match=f"--{name}={value} has no effect"):
            DataConfig(token_type="byte", **{name: value})


def test_the_builtin_corpus_has_bytes_too():
    words, units = (load_corpus(DataConfig(token_type=t)) for t in ("word", "byte"))
    text = TokenRules().join(words.vocabulary.decode(words.splits["valid"]))
    assert RULES.join(units.vocabulary.decode(units.splits["valid"])) == text
