"""Corpora in folders, and the tutorial's own reader to hold ours against."""

import collections

import numpy as np
from hypothesis import strategies as st

from ptb_lm.config import DataConfig
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.token_rules import TokenRules

ALL_RULES = [
    TokenRules(token_type, normalize)
    for token_type in ("word", "char")
    for normalize in ("none", "letters")
]
SPLITS = ("train", "valid", "test")
# Lines begin and end with a blank, as those of the Penn Treebank files do: the
# tutorial's reader relies on it.
TEXTS = {
    "train": " the cat <unk> sat \n the dog sat \n \n the end N \n",
    "valid": " the dog <unk> \n",
    "test": " the cat sat N \n the end \n",
}

WORDS = st.sampled_from(["a", "b", "c", "dd", "<unk>", "é", "日本語", "naïve", "-"])
# White space of every kind, what looks like it, tokens that mean something, and all.
HARD_PIECES = [
    *"aB1 \n\r\t\x0b\x1c\x85\xa0\u2003\u3000\u200b\ufeff\u180e",
    *("\r\n", "<eos>", "<unk>", "The Time", "\u00e9", "e\u0301"),
    *("\u212a", "_", "\0", "\U0001f600"),
]
HARD_TEXTS = st.lists(
    st.one_of(st.sampled_from(HARD_PIECES), st.text(max_size=3)), max_size=12
).map("".join)
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
        assert corpus.splits[split].dtype in (np.uint16, np.int32)
        np.testing.assert_array_equal(corpus.splits[split], ids)
