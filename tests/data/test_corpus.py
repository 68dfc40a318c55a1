"""The corpora that --data_path can name, against the tutorial's own reader."""

import collections
import hashlib
import math
import os
import pathlib
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.config import DataConfig
from ptb_lm.data import corpus as corpus_module
from ptb_lm.data import grammar, text_source
from ptb_lm.data.corpus import (
    Corpus,
    corpus_name,
    encode_file,
    encode_split,
    load_corpus,
)
from ptb_lm.data.text_source import TextSource, split_words, tokenize
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError

SPLITS = ("train", "valid", "test")
# Lines begin and end with a blank, as those of the Penn Treebank files do: the
# tutorial's reader relies on it.
TEXTS = {
    "train": " the cat <unk> sat \n the dog sat \n \n the end N \n",
    "valid": " the dog <unk> \n",
    "test": " the cat sat N \n the end \n",
}
PTB_MD5 = {
    "train": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "valid": "aa0affc06ff7c36e977d7cd49e3839bf",
    "test": "8b80168b89c18661a38ef683c0dc3721",
}

WORDS = st.sampled_from(["a", "b", "c", "dd", "<unk>", "é", "日本語", "naïve", "-"])
LINES = st.lists(st.lists(WORDS, max_size=5), min_size=1, max_size=8)


def tutorial_words(text):
    """`_read_words` of the tutorial's reader.py."""
    return text.replace("\n", "<eos>").split()


def tutorial_data(train, *others):
    """`ptb_raw_data`: word -> id from train, and the ids of every text."""
    counter = collections.Counter(tutorial_words(train))
    pairs = sorted(counter.items(), key=lambda x: (-x[1], x[0]))
    word_to_id = {word: number for number, (word, _) in enumerate(pairs)}
    texts = [
        [word_to_id[word] for word in tutorial_words(text) if word in word_to_id]
        for text in (train, *others)
    ]
    return word_to_id, texts


def write_folder(folder, texts, prefix="ptb.", encode=str.encode):
    folder.mkdir(exist_ok=True, parents=True)
    for split, text in texts.items():
        (folder / f"{prefix}{split}.txt").write_bytes(encode(text))
    return folder


def load(path, **options):
    return load_corpus(DataConfig(data_path=str(path), **options))


def words_of(corpus):
    """The corpus back as words."""
    return {s: corpus.vocabulary.decode(ids) for s, ids in corpus.splits.items()}


def assert_same(one, other):
    assert one.vocabulary == other.vocabulary
    for split in SPLITS:
        np.testing.assert_array_equal(one.splits[split], other.splits[split])


def assert_equals_the_tutorial(corpus, texts):
    word_to_id, expected = tutorial_data(*(texts[split] for split in SPLITS))
    assert corpus.vocabulary.tokens == tuple(word_to_id)
    assert tuple(corpus.splits) == SPLITS
    for split, ids in zip(SPLITS, expected, strict=True):
        assert corpus.splits[split].dtype == np.int32
        np.testing.assert_array_equal(corpus.splits[split], ids)


# --- Folders ------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["ptb.", ""])
def test_folder_equals_the_tutorials_reader(tmp_path, prefix):
    corpus = load(write_folder(tmp_path / "mine", TEXTS, prefix))
    assert_equals_the_tutorial(corpus, TEXTS)
    assert corpus.name == "mine"
    assert corpus.floor_perplexity is None


@given(lines=st.tuples(LINES, LINES, LINES))
def test_any_folder_equals_the_tutorials_reader(tmp_path_factory, lines):
    texts = {
        split: "".join(f" {' '.join(words)} \n" for words in [*some, ["a"]])
        for split, some in zip(SPLITS, lines, strict=True)
    }
    every_word = " a b c dd <unk> é 日本語 naïve - \n"
    texts["train"] += every_word
    folder = write_folder(tmp_path_factory.getbasetemp() / "any", texts)
    assert_equals_the_tutorial(load(folder), texts)


def test_ptb_names_win_over_plain_names(tmp_path):
    write_folder(tmp_path, {split: "other words\n" for split in SPLITS}, "")
    write_folder(tmp_path, TEXTS, "ptb.")
    assert_equals_the_tutorial(load(tmp_path), TEXTS)


def test_links_and_relative_paths(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "real.name-1.2", TEXTS)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for path in (".", "../link", folder, f"{folder}/"):
        corpus = load(path)
        assert corpus.name == "real.name-1.2"
        assert_equals_the_tutorial(corpus, TEXTS)


def test_home_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "corpus", TEXTS)
    monkeypatch.setenv("HOME", str(tmp_path))
    corpus = load("~/corpus")
    assert corpus.name == "corpus"
    assert_equals_the_tutorial(corpus, TEXTS)


def test_a_words_line_and_file_are_named(tmp_path):
    texts = {
        "train": "a b\n",
        "valid": "a\n\nb a\nb zebra a\nyak\n",
        "test": "a\n",
    }
    with pytest.raises(UserError) as caught:
        load(write_folder(tmp_path, texts))
    message = str(caught.value)
    assert f"{tmp_path}/ptb.valid.txt, line 4:" in message
    assert "'zebra'" in message
    assert "--max_vocab_size" in message
    # And what it advises helps.
    assert words_of(load(tmp_path, max_vocab_size=3))["test"] == ["a", "<eos>"]


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


def test_a_split_by_another_vocabulary(tmp_path):
    vocabulary = Vocabulary(["sat", "the", "<unk>", "<eos>"])
    write_folder(tmp_path, TEXTS | {"train": "an <eos> not read"})
    ids = encode_split(DataConfig(data_path=str(tmp_path)), "test", vocabulary)
    assert ids.tolist() == [1, 2, 0, 2, 3, 1, 2, 3]
    known = Vocabulary(["the", "cat", "sat", "N", "end", "<eos>"])
    assert len(encode_split(DataConfig(data_path=str(tmp_path)), "test", known)) == 8


def test_without_a_home_folder_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PTB_LM_CACHE", "~no-such-user/cache")
    assert words_of(load(write_folder(tmp_path, TEXTS)))["train"]


# --- Line ends, byte order marks, blanks, other alphabets ---------------------


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


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_line_is_closed(lines, line_end, closed):
    text = line_end.join(" ".join(words) for words in lines) + line_end * closed
    if not closed and not lines[-1]:
        lines = lines[:-1]  # Nothing follows the last line end.
    expected = [token for words in lines for token in [*words, "<eos>"]]
    assert split_words(text) == expected


def test_blank_lines_are_lines():
    eos = "<eos>"
    expected = [eos, eos, "a", eos, eos, "b", eos, eos]
    assert split_words("\n\na\n \nb\n\n") == expected
    assert split_words("") == []


def test_words_in_other_alphabets(tmp_path):
    line = "naïve Straße 日本語 עברית e\u0301 é 😀 ﬁ"
    texts = {split: f"{line}\n" for split in SPLITS}
    corpus = load(write_folder(tmp_path, texts))
    # Nothing is normalized: composed and decomposed é stay two words.
    assert words_of(corpus)["valid"] == [*line.split(" "), "<eos>"]
    assert len(corpus.vocabulary) == 9


# --- One file -----------------------------------------------------------------


@pytest.mark.parametrize("count", [20, 100, 137, 1000])
def test_one_file_is_split_90_5_5_by_lines(tmp_path, count):
    path = tmp_path / "story.txt"
    lines = [f"<unk> line {n}" for n in range(count)]
    path.write_text("\n".join(lines) + "\n")
    corpus = load(path)
    assert corpus.name == "story"
    found = words_of(corpus)
    sizes = [found[split].count("<eos>") for split in SPLITS]
    assert sum(sizes) == count
    assert sizes == pytest.approx([0.9 * count, 0.05 * count, 0.05 * count], abs=1)
    known = set(corpus.vocabulary.tokens)
    expected = [w if w in known else "<unk>" for w in split_words(path.read_text())]
    assert [word for split in SPLITS for word in found[split]] == expected
    assert found["train"] == split_words("\n".join(lines[: sizes[0]]))


def test_one_files_line_is_counted_from_its_start(tmp_path):
    path = tmp_path / "story.txt"
    lines = ["same words"] * 98 + ["same yak", "same words"]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"story.txt, line 99: the word 'yak'"):
        load(path)


@pytest.mark.parametrize("count", [1, 2, 9, 10])
def test_one_file_of_too_few_lines(tmp_path, count):
    path = tmp_path / "story.txt"
    path.write_text("some words\n" * count)
    with pytest.raises(UserError, match=rf"story.txt: {count} lines are too few"):
        load(path)


@pytest.mark.parametrize("content", ["", "\n", "\r\n \n\t\n" * 40])
def test_one_file_without_words(tmp_path, content):
    path = tmp_path / "story.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"story.txt: no words"):
        load(path)


def test_one_file_with_a_blank_end(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("some words\n" * 90 + "\n" * 10)
    with pytest.raises(UserError, match=r"story.txt: no words in the valid text"):
        load(path)


# --- What is wrong with a path ------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("prefix", ["ptb.", ""])
def test_missing_file_is_named(tmp_path, split, prefix):
    texts = {name: text for name, text in TEXTS.items() if name != split}
    with pytest.raises(UserError) as caught:
        load(write_folder(tmp_path, texts, prefix))
    assert f"{tmp_path}: {prefix}{split}.txt is missing" in str(caught.value)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", ["", "\n\n", " \r\n\t\n"])
def test_file_without_words_is_named(tmp_path, split, content):
    write_folder(tmp_path, TEXTS | {split: content})
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert f"{tmp_path}/ptb.{split}.txt: no words" in str(caught.value)


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
        encode_file(path, Vocabulary(["a", "<eos>"]), DataConfig())


def test_utf16_is_not_utf8(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text("some words\n" * 100, encoding="utf-16")
    with pytest.raises(UserError, match=r"story.txt, line 1: not UTF-8"):
        load(path)


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("words\n")
    os.mkfifo(tmp_path / "pipe")
    names = ["nowhere", "loop", "dangling", "file/below", "pipe", "x" * 300]
    for name in names:
        with pytest.raises(UserError, match=r"^--data_path=") as caught:
            load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(UserError, match=r"~no-such-user/x: no such home folder"):
        load("~no-such-user/x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_folder_without_permission(tmp_path):
    folder = write_folder(tmp_path / "closed", TEXTS)
    folder.chmod(0)
    try:
        with pytest.raises(UserError, match="no permission"):
            load(folder)
    finally:
        folder.chmod(0o700)


def test_ptb_is_downloaded_unless_it_is_here(tmp_path, monkeypatch):
    """`--data_path=ptb` asks the cache, but a folder of that name comes first."""
    cache = write_folder(tmp_path / "cache" / "ptb", TEXTS)
    asked = []

    def fetch(url, cache_dir, progress):
        asked.append((url, cache_dir))
        return cache

    monkeypatch.setattr(corpus_module.download, "fetch_ptb", fetch)
    monkeypatch.chdir(tmp_path)
    corpus = load("ptb", ptb_url="http://here/x.tgz", cache_dir="there")
    assert corpus.name == "ptb"
    assert_equals_the_tutorial(corpus, TEXTS)
    assert asked == [("http://here/x.tgz", pathlib.Path("there"))]
    write_folder(tmp_path / "ptb", {split: "other\n" for split in SPLITS})
    assert words_of(load("ptb"))["test"] == ["other", "<eos>"]
    assert len(asked) == 1


# --- Text to evaluate ---------------------------------------------------------


def test_encode_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffthe cat\r\nzebra", newline="")
    vocabulary = Vocabulary(["the", "<eos>", "<unk>", "cat"])
    assert encode_file(path, vocabulary, DataConfig()).tolist() == [0, 3, 1, 2, 1]
    with pytest.raises(UserError, match=r"mine.txt, line 2: the word 'zebra'"):
        encode_file(path, Vocabulary(["the", "<eos>", "cat"]), DataConfig())


@pytest.mark.parametrize("content", ["", "\n", " \n\n"])
def test_encode_file_without_words(tmp_path, content):
    path = tmp_path / "mine.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"mine.txt: no words"):
        encode_file(path, Vocabulary(["a", "<eos>"]), DataConfig())


# --- The built-in corpus ------------------------------------------------------


@pytest.fixture(scope="module")
def builtin():
    return load_corpus(DataConfig())


def test_builtin_corpus(builtin):
    assert builtin.name == "builtin"
    texts = grammar.builtin_corpus()
    assert_equals_the_tutorial(
        builtin, {split: text.replace("\n", " \n ") for split, text in texts.items()}
    )
    sizes = [len(builtin.splits[split]) for split in SPLITS]
    assert sizes == [100_003, 10_010, 10_008]
    assert len(builtin.vocabulary) == 257
    assert set(builtin.splits["train"].tolist()) == set(range(257))


def test_builtin_floor_is_the_grammars_entropy_rate(builtin):
    expected = math.exp(grammar.ENGLISH.entropy_rate())
    assert builtin.floor_perplexity == pytest.approx(expected, rel=1e-12)
    # The true model's own score of the test text is near: within sampling error.
    words = builtin.vocabulary.decode(builtin.splits["test"])
    sentences, sentence = [], []
    for word in words:
        if word == "<eos>":
            sentences.append(sentence)
            sentence = []
        else:
            sentence.append(word)
    nats = -math.fsum(grammar.ENGLISH.log_probability(s) for s in sentences)
    assert math.exp(nats / len(words)) == pytest.approx(expected, rel=0.05)


def test_builtin_corpus_written_to_a_folder_is_the_same(builtin, tmp_path):
    folder = write_folder(tmp_path / "copy", grammar.builtin_corpus(), "")
    copy = load(folder)
    assert_same(copy, builtin)
    assert copy.digest() == builtin.digest()
    assert copy.floor_perplexity is None


# --- Names and fingerprints ---------------------------------------------------


def test_corpus_name(tmp_path):
    (tmp_path / "a.folder").mkdir()
    (tmp_path / "a.file.txt").touch()
    assert corpus_name("") == "builtin"
    assert corpus_name("ptb") == "ptb"
    assert corpus_name(str(tmp_path / "a.folder")) == "a.folder"
    assert corpus_name(str(tmp_path / "a.file.txt")) == "a.file"


def test_digest_tells_corpora_apart():
    def digest(tokens, train, valid=(0,)):
        splits = {"train": train, "valid": valid, "test": [0]}
        arrays = {s: np.array(ids, np.int32) for s, ids in splits.items()}
        return Corpus("name", arrays, Vocabulary(tokens)).digest()

    base = digest(["a", "b"], [0, 1])
    assert base == digest(["a", "b"], [0, 1])
    others = [
        digest(["a", "c"], [0, 1]),
        digest(["b", "a"], [0, 1]),
        digest(["a", "b"], [1, 0]),
        digest(["a", "b"], [0, 1, 0]),
        digest(["ab"], [0, 1]),
        digest(["a", "b"], [0, 1], valid=(1,)),
    ]
    assert len({base, *others}) == 7


# --- The Penn Treebank --------------------------------------------------------


@pytest.mark.real_data
def test_penn_treebank(real_data):
    ptb_folder, texts = real_data / "ptb", {}
    for split, md5 in PTB_MD5.items():
        data = (ptb_folder / f"ptb.{split}.txt").read_bytes()
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
        texts[split] = data.decode()
    corpus = load(ptb_folder)
    sizes = [len(corpus.splits[split]) for split in SPLITS]
    assert sizes == [929_589, 73_760, 82_430]
    assert len(corpus.vocabulary) == 10_000
    assert corpus.vocabulary.tokens[:7] == (
        "the",
        "<unk>",
        "<eos>",
        "N",
        "of",
        "to",
        "a",
    )
    assert corpus.name == "ptb"
    assert_equals_the_tutorial(corpus, texts)
    # "aer banknote ... wachter <eos> pierre <unk> N years old will join the board".
    first = corpus.splits["train"][:36].tolist()
    assert first[:4] == [9970, 9971, 9972, 9974]
    assert first[23:] == [9999, 2, 9256, 1, 3, 72, 393, 33, 2133, 0, 146, 19, 6]


# --- The cache, blocks, and characters ----------------------------------------


def test_ids_are_read_from_the_cache_the_second_time(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, TEXTS)
    first = load(folder)
    assert isinstance(first.splits["train"], np.memmap)

    def encode(*unused):
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(corpus_module, "_encoded_blocks", encode)
        second = load(folder)
        assert second.vocabulary == first.vocabulary
        for split in SPLITS:
            np.testing.assert_array_equal(second.splits[split], first.splits[split])
        with pytest.raises(AssertionError, match="encoded again"):
            load(folder, max_vocab_size=4)
    # A file that has changed is encoded again.
    write_folder(tmp_path, TEXTS | {"train": TEXTS["train"] + "a new line\n"})
    assert len(load(folder).splits["train"]) == len(first.splits["train"]) + 4


@pytest.mark.parametrize("name", ["index.json", "valid.ids"])
def test_a_damaged_cache_is_replaced(tmp_path, name):
    folder = write_folder(tmp_path / "corpus", TEXTS)
    config = DataConfig(data_path=str(folder), cache_dir=str(tmp_path / "cache"))
    first = load_corpus(config)
    (path,) = (tmp_path / "cache").rglob(name)
    path.write_bytes(path.read_bytes()[:-2])
    assert words_of(load_corpus(config)) == words_of(first)
    assert len(list((tmp_path / "cache" / "encoded").iterdir())) == 1


def test_without_a_cache_to_write_to(tmp_path):
    (tmp_path / "file").write_text("")
    folder = write_folder(tmp_path, TEXTS)
    config = DataConfig(data_path=str(folder), cache_dir=str(tmp_path / "file/cache"))
    assert words_of(load_corpus(config)) == words_of(load(folder))


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
        whole = TextSource("text", path)
        parts = [TextSource("", path, 0, begin), TextSource("", path, begin)]
        reading = (token_type, normalize, is_spaced)
        expected = tokenize(text, *reading)
        for sources in ([whole], parts):
            blocks = [block for source in sources for _, block in source.blocks()]
            assert [t for b in blocks for t in tokenize(b, *reading)] == expected


def test_characters(tmp_path):
    texts = {"train": "ab\r\nba\n", "valid": "b\na", "test": "a b"}
    folder = write_folder(tmp_path, texts | {"test": "ab"})
    corpus = load(folder, token_type="char")
    assert words_of(corpus)["train"] == list("ab\nba\n")
    assert words_of(corpus)["valid"] == list("b\na")
    write_folder(tmp_path, texts)
    with pytest.raises(UserError, match=r"test.txt, line 1: the char ' ' is not"):
        load(folder, token_type="char")


def test_letters():
    text = "  The Time Machine, 1895\r\n\n  by H. G. Wells\u00e9 [1898]\nI\n"
    words = "the time machine by h g wells i"
    assert tokenize(text, "word", "letters") == words.split()
    assert tokenize(text, "char", "letters") == list(words + " ")


@given(st.text("aB,.\r\n \u00e9\u212a", max_size=30))
def test_letters_are_runs_of_ascii_letters(text):
    """Against a definition that looks at one character after the other."""
    letters = "".join(c if c in "aB" else " " for c in text).lower().split()
    assert tokenize(text, "word", "letters") == letters
    characters = "".join(tokenize(text, "char", "letters"))
    assert characters.rstrip(" ") == " ".join(letters)
    assert "  " not in characters


def test_the_treebanks_character_files(tmp_path):
    """One folder holds both versions; each token type finds its own."""
    write_folder(tmp_path, {split: "a cat\n<unk> a\n" for split in SPLITS}, "ptb.")
    spaced = "a _ c a t \n < u n k > _ a \n"
    write_folder(tmp_path, {split: spaced for split in SPLITS}, "ptb.char.")
    characters = load(tmp_path, token_type="char")
    assert "".join(words_of(characters)["valid"]) == "a cat\n<unk> a\n"
    expected = ["a", "cat", "<eos>", "<unk>", "a", "<eos>"]
    assert words_of(load(tmp_path))["valid"] == expected


def test_max_tokens(tmp_path):
    texts = {"train": "a b c d", "valid": "d e", "test": "c"}
    folder = write_folder(tmp_path, {**texts, "valid": "d"})
    whole = load(folder)
    config = DataConfig(data_path=str(folder), max_tokens=3)
    corpus = load_corpus(config)
    assert corpus.vocabulary == whole.vocabulary
    assert words_of(corpus) == words_of(whole) | {"train": ["a", "b", "c"]}
    ids = encode_split(config, "train", whole.vocabulary)
    assert ids.tolist() == corpus.splits["train"].tolist()
    assert words_of(load(folder, max_tokens=99)) == words_of(whole)


@pytest.mark.parametrize("text", ["aaaa\naa\n" * 9, "a a a"])
def test_one_distinct_character(tmp_path, text):
    folder = write_folder(tmp_path, {split: text for split in SPLITS})
    with pytest.raises(UserError, match="train text has one distinct character"):
        load(folder, token_type="char")


def test_binary_file(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"text\n\x00\x01\n" * 99)
    with pytest.raises(UserError, match=r"model.bin, line 2: a zero byte: not a text"):
        load(path)
