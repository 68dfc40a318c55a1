"""Texts become ids, or the word and the line that cannot are named."""

import pytest

from ptb_lm.config import DataConfig
from ptb_lm.data.encoding import encode_text
from ptb_lm.data.text_source import FileText
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.system import memory
from tests.support.corpora import (
    SPLITS,
    TEXTS,
    assert_equals_the_tutorial,
    assert_same,
    load,
    words_of,
    write_folder,
)


def test_a_words_line_and_file_are_named(tmp_path):
    texts = {
        "train": "a b\n",
        "valid": "a\n\nb a\nb zebra a\nyak\n",
        "test": "a\n",
    }
    with pytest.raises(UserError) as caught:
        load(write_folder(tmp_path, texts), min_count=1)
    message = str(caught.value)
    assert f"{tmp_path}/ptb.valid.txt, line 4:" in message
    assert "'zebra'" in message
    assert "without --min_count=1" in message
    # And what it advises helps.
    assert words_of(load(tmp_path))["test"] == ["<unk>", "<eos>"]


def test_one_files_line_is_counted_from_its_start(tmp_path):
    path = tmp_path / "story.txt"
    lines = ["same words"] * 98 + ["same yak", "same words"]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"story.txt, line 99: the word 'yak'"):
        load(path, min_count=1)


def test_unknown_words_become_unk_where_train_has_it(tmp_path):
    texts = TEXTS | {"test": " the zebra sat \n"}
    corpus = load(write_folder(tmp_path, texts))
    assert words_of(corpus)["test"] == ["the", "<unk>", "sat", "<eos>"]


def test_max_vocab_size(tmp_path):
    corpus = load(write_folder(tmp_path, TEXTS), max_vocab_size=4)
    # <eos> 4, the 3, sat 2, then one each of cat, dog, end, N and <unk> itself.
    assert corpus.vocabulary.tokens == ("<unk>", "<eos>", "the", "sat")
    assert words_of(corpus)["valid"] == ["the", "<unk>", "<unk>", "<eos>"]


@pytest.mark.parametrize("size", [2, 50, 300, 12_000])
def test_other_vocabulary_sizes(tmp_path, size):
    train = "".join(f" w{n} \n" for n in range(size))
    texts = {"train": train, "valid": " w0 \n", "test": f" w{size - 1} \n"}
    corpus = load(write_folder(tmp_path, texts, ""))
    assert len(corpus.vocabulary) == size + 1
    assert_equals_the_tutorial(corpus, texts)


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda t: t.replace("\n", "\r\n").encode(), id="Windows"),
        pytest.param(lambda t: t.removesuffix("\n").encode(), id="no final newline"),
        pytest.param(
            lambda t: t.replace("\n", "\r\n").removesuffix("\r\n").encode(),
            id="Windows without the final newline",
        ),
        pytest.param(lambda t: t.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(lambda t: t.replace(" ", " \t  ").encode(), id="more blanks"),
        pytest.param(
            lambda t: "\n".join(line.strip() for line in t.split("\n")).encode(),
            id="no blanks around the lines",
        ),
    ],
)
@pytest.mark.parametrize("shape", ["folder", "file"])
def test_the_same_text_written_otherwise(tmp_path, encode, shape):
    def write(path, encode):
        if shape == "folder":
            return write_folder(path, TEXTS, "", encode)
        path.write_bytes(encode(TEXTS["train"] * 10))
        return path

    plain = load(write(tmp_path / "plain", str.encode))
    assert len(plain.vocabulary) == 8
    assert_same(load(write(tmp_path / "other", encode)), plain)


def test_words_in_other_alphabets(tmp_path):
    line = "naïve Straße 日本語 עברית e\u0301 é 😀 ﬁ"
    texts = {split: f"{line}\n" for split in SPLITS}
    corpus = load(write_folder(tmp_path, texts))
    # Nothing is normalized: composed and decomposed é stay two words.
    assert words_of(corpus)["valid"] == [*line.split(" "), "<eos>"]
    assert len(corpus.vocabulary) == 9


def test_characters(tmp_path):
    texts = {"train": "ab\r\nba\n", "valid": "b\na", "test": "a b"}
    folder = write_folder(tmp_path, texts | {"test": "ab"})
    corpus = load(folder, token_type="char")
    assert words_of(corpus)["train"] == list("ab\nba\n")
    assert words_of(corpus)["valid"] == list("b\na")
    write_folder(tmp_path, texts)
    with pytest.raises(UserError, match=r"test.txt, line 1: the character ' ' is not"):
        load(folder, token_type="char", min_count=1)


@pytest.mark.parametrize("text", ["aaaa\naa\n" * 9, "a a a"])
def test_one_distinct_character(tmp_path, text):
    folder = write_folder(tmp_path, {split: text for split in SPLITS})
    with pytest.raises(UserError, match="train text has one distinct character"):
        load(folder, token_type="char")


def test_the_name_of_a_long_word_is_cut_off(tmp_path):
    word = "x" * 2_000_000
    texts = {"train": "a b\n", "valid": f"{word}\n", "test": "b\n"}
    folder = write_folder(tmp_path, texts)
    with pytest.raises(UserError, match=r"the word 'x{60}…' is not in"):
        load(folder, min_count=1)


def test_one_file_with_a_blank_end(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("some words\n" * 90 + "\n" * 10)
    with pytest.raises(UserError, match=r"story.txt: no words in the valid text"):
        load(path)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", ["", "\n\n", " \r\n\t\n"])
def test_file_without_words_is_named(tmp_path, split, content):
    write_folder(tmp_path, TEXTS | {split: content})
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert f"{tmp_path}/ptb.{split}.txt: no words" in str(caught.value)


def encode_file(path, tokens, unknown="unk"):
    source = FileText(name=str(path), path=path)
    return encode_text(source, Vocabulary(tokens), DataConfig(), unknown)


def test_a_text_by_the_vocabulary_of_a_model(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffthe cat\r\nzebra <unk>", newline="")
    vocabulary = ["the", "<eos>", "<unk>", "cat"]
    read = encode_file(path, vocabulary)
    assert read.ids.tolist() == [0, 3, 1, 2, 2, 1]
    assert (read.replaced, read.left_out) == (1, 0)
    assert read.unknown(Vocabulary(vocabulary)).share == 2 / 6
    shorter = encode_file(path, vocabulary, "skip")
    assert shorter.ids.tolist() == [0, 3, 1, 2, 1]
    assert (shorter.replaced, shorter.left_out) == (0, 1)
    assert shorter.unknown(Vocabulary(vocabulary)).share == 2 / 6
    with pytest.raises(UserError) as caught:
        encode_file(path, vocabulary, "error")
    assert str(caught.value) == (
        f"{path}, line 2: the word 'zebra' is not in the vocabulary; --unknown=skip"
        " leaves such words out"
    )


def test_a_text_by_a_vocabulary_without_unk(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("the cat\nzebra the")
    vocabulary = ["the", "<eos>", "cat"]
    for unknown in ("unk", "draw", "error"):
        with pytest.raises(UserError, match=r"mine.txt, line 2: the word 'zebra'"):
            encode_file(path, vocabulary, unknown)
    read = encode_file(path, vocabulary, "skip")
    assert read.ids.tolist() == [0, 2, 1, 0, 1] and read.left_out == 1
    assert read.unknown(Vocabulary(vocabulary)).share == 1 / 6


@pytest.mark.parametrize("content", ["", "\n", " \n\n"])
def test_a_text_without_words(tmp_path, content):
    path = tmp_path / "mine.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"mine.txt: no words"):
        encode_file(path, ["a", "<eos>"])


def test_a_corpus_that_cannot_fit(tmp_path, monkeypatch):
    """Only where it must be in memory, that is, where there is no cache."""
    write_folder(tmp_path, dict.fromkeys(SPLITS, "a b\n" * 50), "")
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    corpus = load(tmp_path, cache_dir=str(tmp_path / "cache"))
    assert len(corpus.splits["train"]) == 150
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"train\.txt, encoded, needs at least"):
        load(tmp_path, cache_dir=str(tmp_path / "file"))
