"""Token <-> id: order, unknown words, the size limit, and the saved file."""

import collections
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.data.vocabulary import UNKNOWN, Vocabulary
from ptb_lm.errors import UserError

WORDS = st.one_of(
    st.sampled_from(["the", "of", "a", UNKNOWN, "<eos>", "N", "ß", "日本"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
)
TEXTS = st.lists(WORDS, min_size=1, max_size=60)

ODD_TOKENS = [
    "plain",
    'double"quote',
    "single'quote",
    "back\\slash",
    "line\u2028separator",
    "paragraph\u2029separator",
    "next\u0085line",
    "no\u00a0break",
    "new\nline",
    "return\r",
    "tab\t",
    "nul\0",
    "\ufeffmark",
    "e\u0301",
    "é",
    "😀",
    "",
    " ",
    "null",
]


def test_order_is_by_count_then_word():
    words = list("bacbadbéZ")
    assert Vocabulary.from_tokens(words).tokens == ("b", "a", "Z", "c", "d", "é")


@given(TEXTS)
def test_order_is_the_tutorials(words):
    """The two lines of the tutorial's `_build_vocab`."""
    pairs = sorted(collections.Counter(words).items(), key=lambda x: (-x[1], x[0]))
    assert list(Vocabulary.from_tokens(words).tokens) == [word for word, _ in pairs]


@given(TEXTS)
def test_round_trip(words):
    vocabulary = Vocabulary.from_tokens(words)
    ids = vocabulary.encode(words)
    assert ids.dtype == np.int32
    assert ids.shape == (len(words),)
    assert set(ids.tolist()) == set(range(len(vocabulary)))
    assert vocabulary.decode(ids) == words


def test_nothing_to_encode_or_decode():
    vocabulary = Vocabulary(["a"])
    assert vocabulary.encode([]).shape == (0,)
    assert vocabulary.encode([]).dtype == np.int32
    assert vocabulary.decode([]) == []


def test_unknown_words_become_unk():
    vocabulary = Vocabulary.from_tokens(["a", "a", UNKNOWN, "b"])
    assert vocabulary.unknown_id == vocabulary.tokens.index(UNKNOWN)
    encoded = vocabulary.decode(vocabulary.encode(["b", "c", "a", "d", UNKNOWN]))
    assert encoded == ["b", UNKNOWN, "a", UNKNOWN, UNKNOWN]


def test_unknown_word_without_unk_is_named():
    vocabulary = Vocabulary.from_tokens(["a", "b"])
    assert vocabulary.unknown_id is None
    with pytest.raises(KeyError) as caught:
        vocabulary.encode(["a", "zebra", "yak"])
    assert caught.value.args == ("zebra",)


def test_max_size_keeps_the_most_frequent_and_unk():
    words = list("aaabbbccdef")
    vocabulary = Vocabulary.from_tokens(words, max_size=4)
    # Three words are kept; <unk> stands for d, e and f and ranks by that count.
    assert vocabulary.tokens == (UNKNOWN, "a", "b", "c")


def test_max_size_counts_the_texts_own_unk_once():
    words = ["a"] * 4 + [UNKNOWN] * 3 + ["b"] * 2 + ["c"] * 2
    assert Vocabulary.from_tokens(words, max_size=3).tokens == (UNKNOWN, "a", "b")
    assert Vocabulary.from_tokens(words, max_size=4).tokens == ("a", UNKNOWN, "b", "c")


@given(TEXTS, st.integers(1, 20))
def test_max_size(words, size):
    counts = collections.Counter(words)
    del counts[UNKNOWN]
    vocabulary = Vocabulary.from_tokens(words, size)
    kept = [token for token in vocabulary.tokens if token != UNKNOWN]
    assert len(kept) == min(size - 1, len(counts))
    assert sorted(vocabulary.tokens) == sorted([*kept, UNKNOWN])
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    assert kept == ranked[: size - 1]
    # Rank of <unk>: by how often the encoded text has it.
    encoded = np.bincount(vocabulary.encode(words), minlength=len(vocabulary))
    assert encoded.tolist() == sorted(encoded.tolist(), reverse=True)


def test_equality():
    assert Vocabulary(["a", "b"]) == Vocabulary(("a", "b"))
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary(["a"]) != ("a",)


def test_save_and_load_odd_tokens(tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary = Vocabulary(ODD_TOKENS)
    vocabulary.save(path)
    loaded = Vocabulary.load(path)
    assert loaded.tokens == tuple(ODD_TOKENS)
    assert loaded == vocabulary
    assert [file.name for file in tmp_path.iterdir()] == ["vocabulary.json"]


@given(words=TEXTS)
def test_save_and_load(tmp_path_factory, words):
    path = tmp_path_factory.getbasetemp() / "vocabulary.json"
    vocabulary = Vocabulary.from_tokens(words)
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    # Plain JSON, for other programs.
    assert json.loads(path.read_bytes()) == list(vocabulary.tokens)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"the of a\n", id="not JSON"),
        pytest.param(b'["the", "of"', id="cut short"),
        pytest.param(b'["the"] ["of"]', id="two values"),
        pytest.param(b'{"the": 0}', id="not a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"the"', id="a string"),
        pytest.param(b'["the", 1]', id="a number in it"),
        pytest.param(b'["the", null]', id="null in it"),
        pytest.param(b'["the", ["of"]]', id="a list in it"),
        pytest.param(b'["the", "of", "the"]', id="a token twice"),
        pytest.param(b"[]", id="no token"),
        pytest.param(b'["\xff"]', id="not UTF-8"),
        pytest.param(b"[" * 200_000, id="deep nesting"),
        pytest.param(b"[" * 200_000 + b"]" * 200_000, id="deep nesting, closed"),
        pytest.param(b"[" + b"9" * 10_000 + b"]", id="huge number"),
        pytest.param(b"\0" * 1_000_000, id="a megabyte of zeros"),
    ],
)
def test_broken_file_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Vocabulary.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable(), "a single line"
    assert len(message) < len(str(path)) + 200


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_unreadable_file_is_named(tmp_path, kind):
    path = tmp_path / "vocabulary.json"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(UserError, match=r"vocabulary.json: cannot read"):
        Vocabulary.load(path)


def test_save_into_nowhere_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone/vocabulary.json: cannot write"):
        Vocabulary(["a"]).save(tmp_path / "gone" / "vocabulary.json")


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    Vocabulary(["old"]).save(path)

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ptb_lm.system.files.os.fsync", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        Vocabulary(["new"]).save(path)
    monkeypatch.undo()
    assert Vocabulary.load(path).tokens == ("old",)
    assert [file.name for file in tmp_path.iterdir()] == ["vocabulary.json"]
