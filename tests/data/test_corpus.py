"""The corpora that --data_path can name, against the tutorial's own reader."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.config import DataConfig
from ptb_lm.data import corpus
from ptb_lm.data.corpus import Corpus, corpus_name, encode_split, load_corpus
from ptb_lm.data.english import ENGLISH, builtin_corpus
from ptb_lm.data.vocabulary import Vocabulary
from tests.support.corpora import (
    LINES,
    SPLITS,
    TEXTS,
    assert_equals_the_tutorial,
    assert_same,
    load,
    words_of,
    write_folder,
)

PTB_MD5 = {
    "train": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "valid": "aa0affc06ff7c36e977d7cd49e3839bf",
    "test": "8b80168b89c18661a38ef683c0dc3721",
}


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_token_counts(piece, monkeypatch):
    monkeypatch.setattr(corpus, "COUNTED_AT_A_TIME", piece)
    ids = np.array([3, 1, 1, 0, 3, 3, 1], np.int32)
    splits = {"train": ids, "valid": ids[:2], "test": ids[:1]}
    made = Corpus("made-up", splits, Vocabulary(["a", "b", "c", "d"]))
    assert made.token_counts().tolist() == [1, 3, 0, 3]


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


def test_a_split_by_another_vocabulary(tmp_path):
    vocabulary = Vocabulary(["sat", "the", "<unk>", "<eos>"])
    write_folder(tmp_path, TEXTS | {"train": "an <eos> not read"})
    config = DataConfig(data_path=str(tmp_path))
    text = encode_split(config, "test", vocabulary, "unk")
    assert text.ids.tolist() == [1, 2, 0, 2, 3, 1, 2, 3] and text.replaced == 3
    known = Vocabulary(["the", "cat", "sat", "N", "end", "<eos>"])
    assert len(encode_split(config, "test", known, "unk").ids) == 8


def test_max_tokens(tmp_path):
    texts = {"train": "a b c d", "valid": "d e", "test": "c"}
    folder = write_folder(tmp_path, {**texts, "valid": "d"})
    whole = load(folder)
    config = DataConfig(data_path=str(folder), max_tokens=3)
    corpus = load_corpus(config)
    assert corpus.vocabulary == whole.vocabulary
    assert words_of(corpus) == words_of(whole) | {"train": ["a", "b", "c"]}
    ids = encode_split(config, "train", whole.vocabulary, "unk").ids
    assert ids.tolist() == corpus.splits["train"].tolist()
    assert words_of(load(folder, max_tokens=99)) == words_of(whole)


@pytest.fixture(scope="module")
def builtin():
    return load_corpus(DataConfig())


def test_builtin_corpus(builtin):
    assert builtin.name == "builtin"
    texts = builtin_corpus()
    assert_equals_the_tutorial(
        builtin, {split: text.replace("\n", " \n ") for split, text in texts.items()}
    )
    sizes = [len(builtin.splits[split]) for split in SPLITS]
    assert sizes == [100_003, 10_010, 10_008]
    assert len(builtin.vocabulary) == 257
    assert set(builtin.splits["train"].tolist()) == set(range(257))


def test_builtin_floor_is_the_grammars_entropy_rate(builtin):
    expected = math.exp(ENGLISH.entropy_rate())
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
    nats = -math.fsum(ENGLISH.log_probability(s) for s in sentences)
    assert math.exp(nats / len(words)) == pytest.approx(expected, rel=0.05)


def test_builtin_corpus_written_to_a_folder_is_the_same(builtin, tmp_path):
    folder = write_folder(tmp_path / "copy", builtin_corpus(), "")
    copy = load(folder)
    assert_same(copy, builtin)
    assert copy.digest() == builtin.digest()
    assert copy.floor_perplexity is None


def test_corpus_name(tmp_path, monkeypatch):
    (tmp_path / "a.folder").mkdir()
    (tmp_path / "a.file.txt").touch()
    assert corpus_name("") == "builtin"
    assert corpus_name("ptb") == "ptb"
    assert corpus_name(str(tmp_path / "a.folder")) == "a.folder"
    assert corpus_name(str(tmp_path / "a.file.txt")) == "a.file"
    assert corpus_name(f"{tmp_path}/a.file.txt,b.txt,{tmp_path}/c") == (
        "a.file-and-2-more"
    )
    monkeypatch.chdir(tmp_path / "a.folder")
    for pattern in ("*.txt", "no?/x*/*.txt", f"{tmp_path}/a.folder/*/[ab].txt"):
        assert corpus_name(pattern) == "a.folder"


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


def test_digests_of_the_splits_tell_texts_apart(tmp_path):
    texts = {"train": "a b b\n", "valid": "a\n", "test": "a\n"}
    first = load(write_folder(tmp_path, texts)).split_digests
    assert first["valid"] == first["test"] != first["train"]
    assert load(tmp_path, max_tokens=2).split_digests["train"] != first["train"]
    texts["test"] = "b\n"
    second = load(write_folder(tmp_path, texts)).split_digests
    assert second == first | {"test": second["test"]} != first


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
    shares = {split: round(share, 4) for split, share in corpus.unknown_shares.items()}
    assert shares == {"train": 0.0484, "valid": 0.0472, "test": 0.0582}
    assert set(corpus.facts.replaced.values()) == {0}
    assert_equals_the_tutorial(corpus, texts)
    # "aer banknote ... wachter <eos> pierre <unk> N years old will join the board".
    first = corpus.splits["train"][:36].tolist()
    assert first[:4] == [9970, 9971, 9972, 9974]
    assert first[23:] == [9999, 2, 9256, 1, 3, 72, 393, 33, 2133, 0, 146, 19, 6]
