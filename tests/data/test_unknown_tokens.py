"""Tokens that are left to <unk>: which, when, and how many."""

import numpy as np
import pytest

from ptb_lm.config import DataConfig
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from tests.support.corpora import SPLITS, load, words_of, write_folder

# The words of train that are there once: sat, rare.
OWN = {
    "train": "the cat sat\nthe cat the\nrare cat\n",
    "valid": "the dog\n",
    "test": "rare cat dog <unk>\n",
}


@pytest.fixture(params=[True, False], ids=["cached", "in memory"])
def cache(request, tmp_path):
    """Options that let a corpus be read through the cache, or not."""
    if request.param:
        return {"cache_dir": str(tmp_path / "cache")}
    (tmp_path / "file").touch()
    return {"cache_dir": str(tmp_path / "file" / "below")}


@pytest.mark.parametrize("reads", [1, 2])
def test_rare_words_of_a_text_of_ones_own_become_unk(tmp_path, cache, reads):
    folder = write_folder(tmp_path / "own", OWN, "")
    for _ in range(reads):
        corpus = load(folder, **cache)
    assert corpus.vocabulary.tokens == ("<eos>", "cat", "the", "<unk>")
    train = "the cat <unk> <eos> the cat the <eos> <unk> cat <eos>"
    assert " ".join(words_of(corpus)["train"]) == train
    assert words_of(corpus)["test"] == ["<unk>", "cat", "<unk>", "<unk>", "<eos>"]
    assert corpus.facts.min_count == 2
    assert corpus.facts.replaced == {"train": 2, "valid": 1, "test": 2}
    assert corpus.unknown_shares == {"train": 2 / 11, "valid": 1 / 3, "test": 3 / 5}


@pytest.mark.parametrize("odd", ["valid", "test"])
def test_one_text_is_reason_enough(tmp_path, odd):
    texts = {"train": "a b a\n", "valid": "a\n", "test": "b\n"} | {odd: "a z\n"}
    corpus = load(write_folder(tmp_path, texts))
    assert corpus.vocabulary.tokens == ("a", "<eos>", "<unk>")


def test_characters_too(tmp_path):
    texts = {"train": "aabbc\n", "valid": "ab\n", "test": "az\n"}
    corpus = load(write_folder(tmp_path, texts, ""), token_type="char")
    # The only line end stays: a text cannot begin without one.
    assert corpus.vocabulary.tokens == ("a", "b", "\n", "<unk>")
    assert words_of(corpus)["test"] == ["a", "<unk>", "\n"]


@pytest.mark.parametrize(
    "train, options",
    [
        ("the cat sat\nthe dog\nrare\n", {}),  # nothing is unknown
        ("the cat sat <unk>\n", {}),  # it has one of its own
        ("the cat sat\n", {"max_vocab_size": 9}),
    ],
)
def test_no_word_is_left_out_where_there_is_no_need(tmp_path, train, options):
    texts = {"train": train, "valid": "the dog\n", "test": "rare\n"}
    folder = write_folder(tmp_path, texts)
    corpus = load(folder, **options)
    assert {*train.split()} <= {*corpus.vocabulary.tokens}
    assert corpus.facts.min_count == 1
    assert corpus.digest() == load(folder, min_count=1, **options).digest()


def test_min_count(tmp_path):
    texts = {"train": "a a a b b c\n", "valid": "a\n", "test": "a\n"}
    folder = write_folder(tmp_path, texts)
    expected = {
        1: ("a", "b", "<eos>", "c"),
        2: ("a", "b", "<eos>", "<unk>"),
        3: ("<unk>", "a", "<eos>"),
        9: ("<unk>", "<eos>"),
    }
    for least, tokens in expected.items():
        assert load(folder, min_count=least).vocabulary.tokens == tokens
    both = load(folder, min_count=2, max_vocab_size=2)
    assert both.vocabulary.tokens == ("<unk>", "a")


def test_min_count_of_a_corpus_with_unk(tmp_path):
    texts = {"train": "a a b <unk>\n", "valid": "a <unk> z\n", "test": "b\n"}
    corpus = load(write_folder(tmp_path, texts), min_count=2)
    assert corpus.vocabulary.tokens == ("<unk>", "a", "<eos>")
    # What was <unk> before took nobody's place.
    assert corpus.facts.replaced == {"train": 1, "valid": 1, "test": 1}
    assert corpus.unknown_shares == {"train": 2 / 5, "valid": 2 / 4, "test": 1 / 2}


def test_every_word_asked_for(tmp_path):
    with pytest.raises(UserError, match="line 1: the word 'dog' is not in the train"):
        load(write_folder(tmp_path, OWN, ""), min_count=1)


def test_the_built_in_corpus_keeps_its_floor_only_with_all_its_words():
    assert load_corpus(DataConfig(min_count=1)).floor_perplexity
    cut = load_corpus(DataConfig(min_count=500))
    assert cut.floor_perplexity is None and cut.unknown_shares["train"] > 0.1


def test_shares_are_of_what_is_trained_on(tmp_path):
    texts = {"train": "a a a a\nb c d\n", "valid": "a z\n", "test": "a\n"}
    folder = write_folder(tmp_path, texts)
    assert load(folder).unknown_shares["train"] == 3 / 9
    assert load(folder, max_tokens=6).unknown_shares["train"] == 1 / 6


def test_mean_length_of_a_word(tmp_path):
    texts = dict.fromkeys(SPLITS, "a bbb\nbbb\n")
    assert load(write_folder(tmp_path, texts)).facts.word_length == 7 / 3
    assert load(tmp_path, token_type="char").facts.word_length == 1


@pytest.mark.parametrize("size", [0, 1, 5, 1000])
def test_counts_below_the_limit_are_dropped(size):
    """Against a loop, for odd counts."""
    words = np.random.default_rng(size).zipf(1.5, 400).clip(0, 99).astype(str).tolist()
    for least in (1, 2, 4):
        kept = {w for w in words if words.count(w) >= least}
        ranked = sorted(kept, key=lambda w: (-words.count(w), w))
        if size:
            ranked = ranked[: size - 1]
        tokens = Vocabulary.from_tokens(words, size, least).tokens
        assert [t for t in tokens if t != "<unk>"] == ranked
        assert ("<unk>" in tokens) is (size > 0 or least > 1)
