"""The sentences of a text in a new order for every epoch."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.config import Config
from ptb_lm.data.sentences import ShuffledSentences
from ptb_lm.data.windows import SequentialWindows, rows_of, training_windows
from ptb_lm.errors import UserError
from ptb_lm.training.checks import check_training_options

END = 0
TEXTS = st.lists(st.integers(0, 5), min_size=2, max_size=60).map(
    lambda t: [0, 1, 0, *t]
)


def sentences_of(text):
    """The sentences, each with its end, and what follows the last end."""
    found, sentence = [], []
    for token in text:
        sentence.append(token)
        if token == END:
            found.append(sentence)
            sentence = []
    return found, sentence


def whole(text, epoch, dtype=np.uint16, seed=1):
    """The text of an epoch, as one stream."""
    shuffled = ShuffledSentences(np.array(text, dtype), END, seed)
    (row,) = shuffled.rows(epoch, 1, 0, len(text))
    assert row.dtype == np.int32
    return row.tolist()


@given(TEXTS, st.integers(0, 3), st.sampled_from([np.uint16, np.int32]))
def test_an_epoch_has_the_sentences_in_the_order_that_is_drawn(text, epoch, dtype):
    sentences, rest = sentences_of(text)
    order = np.arange(len(sentences), dtype=np.uint32)
    np.random.default_rng((1, epoch, 1)).shuffle(order)
    expected = [token for number in order for token in sentences[number]] + rest
    assert whole(text, epoch, dtype) == expected


@given(TEXTS, st.integers(1, 3), st.integers(1, 4), st.data())
def test_windows_are_those_of_the_text_in_its_order(text, batch, steps, data):
    ids = np.array(text, np.uint16)
    windows = SequentialWindows(ids, batch, steps, ShuffledSentences(ids, END, 1))
    epoch = data.draw(st.integers(0, 2))
    rows = rows_of(np.array(whole(text, epoch)), batch)
    for window in data.draw(st.permutations(range(windows.count(epoch)))):
        inputs, targets = windows.read(np.int64(epoch), np.int64(window))
        begin = window * steps
        np.testing.assert_array_equal(inputs, rows[:, begin : begin + steps])
        np.testing.assert_array_equal(targets, rows[:, begin + 1 : begin + steps + 1])


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    text = [token for number in range(1, 40) for token in (number, END)]
    found = [whole(text, epoch, seed=seed) for epoch in range(3) for seed in (1, 2)]
    assert all(one != other for one, other in itertools.combinations([*found, text], 2))
    assert all(sorted(one) == sorted(text) for one in found)
    assert whole(text, 2) == whole(text, 2)


def test_lengths_of_windows_do_not_depend_on_the_order():
    ids = np.tile(np.array([1, 2, END], np.int32), 500)
    options = {"window_lengths": "random", "num_steps": 9, "batch_size": 3}
    plain, shuffled = (
        training_windows(ids, Config.from_values(options | more).training, END)
        for more in ({}, {"shuffle_sentences": True})
    )
    for epoch in (0, 1):
        assert plain.count(epoch) == shuffled.count(epoch)
        for window in range(plain.count(epoch)):
            one, other = plain.read(epoch, window), shuffled.read(epoch, window)
            assert one[0].shape == other[0].shape


def test_memory_is_that_of_the_sentences():
    ids = np.tile(np.array([*range(1, 25), END], np.uint16), 80_000)  # 2 M tokens
    tracemalloc.start()
    shuffled = ShuffledSentences(ids, END, 1)
    for epoch in (0, 1):
        shuffled.rows(epoch, 20, 0, 36)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000  # of 80,000 sentences, and of what is searched at a time


def test_what_cannot_be_shuffled_is_refused():
    with pytest.raises(UserError, match="needs the ends of lines"):
        ShuffledSentences(np.arange(9), None, 1)
    for text in ([1, 2, 3], [1, 2, END], [1, END, 2]):
        with pytest.raises(UserError, match="no two lines"):
            ShuffledSentences(np.array(text), END, 1)
    options = {"shuffle_sentences": True, "windows": "random"}
    with pytest.raises(UserError, match="exclude each other"):
        check_training_options(Config.from_values(options).training)
