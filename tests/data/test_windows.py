"""Windows tile the text, in order, once, and the state may be carried along."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.data.windows import (
    SHORTEST_LENGTH,
    RandomLengthWindows,
    RandomWindows,
    SequentialWindows,
    check_length,
    count_windows,
    draw_lengths,
    rows_of,
)
from ptb_lm.errors import UserError
from tests.support import reference
from tests.support.windows import all_windows, as_lists, random_windows, streams


def expected_batches(ids, batch_size, num_steps):
    """The reference's batches; none where it refuses a short text."""
    try:
        return list(reference.batches(ids.tolist(), batch_size, num_steps))
    except ValueError:
        return []


@given(streams())
def test_windows_tile_the_stream_once(stream):
    ids, batch_size, num_steps = stream
    batches = all_windows(*stream)
    row_length = len(ids) // batch_size
    covered = (row_length - 1) // num_steps * num_steps if row_length else 0
    for row in range(batch_size):
        inputs = [x for window, _ in batches for x in window[row].tolist()]
        targets = [x for _, window in batches for x in window[row].tolist()]
        begin = row * row_length
        assert inputs == ids[begin : begin + covered].tolist()
        assert targets == ids[begin + 1 : begin + 1 + covered].tolist()[: len(inputs)]
        assert row_length - 1 - covered < num_steps, "a whole window was dropped"


@given(streams())
def test_next_window_begins_where_this_one_ends(stream):
    """The stream invariant: next first input == this window's last target."""
    batches = all_windows(*stream)
    for (_, targets), (next_inputs, _) in itertools.pairwise(batches):
        assert next_inputs[:, 0].tolist() == targets[:, -1].tolist()


@given(streams())
def test_targets_are_the_inputs_shifted_by_one(stream):
    for inputs, targets in all_windows(*stream):
        assert targets[:, :-1].tolist() == inputs[:, 1:].tolist()


@given(streams())
def test_windows_equal_the_reference(stream):
    assert as_lists(all_windows(*stream)) == expected_batches(*stream)


def test_a_text_by_hand():
    ids = np.arange(11, dtype=np.int32)
    assert rows_of(ids, 2).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert as_lists(all_windows(ids, 2, 2)) == [
        ([[0, 1], [5, 6]], [[1, 2], [6, 7]]),
        ([[2, 3], [7, 8]], [[3, 4], [8, 9]]),
    ]


@pytest.mark.parametrize(
    "tokens, batch_size, num_steps, expected",
    [
        (929_589, 20, 20, 2323),  # the tutorial's epoch_size at small
        (929_589, 20, 35, 1327),  # at medium and large
        (73_760, 20, 20, 184),
        (82_430, 1, 1, 82_429),  # its test: batch 1, one step
        (42, 20, 1, 1),
        (39, 20, 1, 0),
        (20, 20, 1, 0),
        (19, 20, 1, 0),
        (0, 1, 1, 0),
        (1, 1, 1, 0),
        (2, 1, 1, 1),
    ],
)
def test_count_windows_of_known_texts(tokens, batch_size, num_steps, expected):
    assert count_windows(tokens, batch_size, num_steps) == expected


@given(st.integers(1, 50), st.integers(1, 50))
def test_check_length_refuses_one_token_too_few(batch_size, num_steps):
    needed = batch_size * (num_steps + 1)
    check_length("valid", needed, batch_size, num_steps)
    with pytest.raises(UserError) as caught:
        check_length("valid", needed - 1, batch_size, num_steps)
    message = str(caught.value)
    for part in ("valid", str(needed), f"batch_size={batch_size}"):
        assert part in message
    assert f"num_steps={num_steps}" in message
    assert f"{needed - 1} tokens" in message


@settings(deadline=None)
@given(streams(), st.integers(0, 9))
def test_random_windows_are_pieces_of_the_text_taken_once(stream, epoch):
    ids, batch_size, num_steps = stream
    ids = np.arange(len(ids), dtype=np.int32)  # each place of the text once
    epochs = random_windows(ids, batch_size, num_steps, (1, epoch))
    assert len(epochs) == count_windows(len(ids), batch_size, num_steps, "random")
    places = []
    for inputs, targets in epochs:
        assert inputs.shape == targets.shape == (batch_size, num_steps)
        assert (targets == inputs + 1).all()
        assert (np.diff(inputs, axis=1) == 1).all()
        places += inputs[:, 0].tolist()
    assert len(set(places)) == len(places)
    offsets = {place % num_steps for place in places}
    assert len(offsets) <= 1
    # Whatever the offset, fewer than a batch of pieces are left out.
    offset = min(offsets, default=0)
    pieces = (len(ids) - 1 - offset) // num_steps
    assert pieces - len(places) <= batch_size or not places


def test_random_windows_depend_on_seed_and_epoch_alone():
    ids = np.arange(500, dtype=np.int32)
    first = random_windows(ids, 3, 7)
    assert as_lists(random_windows(ids, 3, 7)) == as_lists(first)
    others = [random_windows(ids, 3, 7, seed) for seed in [(1, e) for e in range(1, 9)]]
    for other in [*others, random_windows(ids, 3, 7, (2, 0))]:
        assert as_lists(other) != as_lists(first)
    offsets = {int(windows[0][0][0, 0]) % 7 for windows in [first, *others]}
    assert len(offsets) > 2, "the offset is not drawn"


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50))
def test_check_length_of_random_windows(batch_size, num_steps):
    needed = (batch_size + 1) * num_steps
    check_length("train", needed, batch_size, num_steps, "random")
    for offset_seed in range(5):  # the count holds for every offset
        ids = np.zeros(needed, np.int32)
        assert random_windows(ids, batch_size, num_steps, (1, offset_seed))
    with pytest.raises(UserError, match=f"need {needed}$"):
        check_length("train", needed - 1, batch_size, num_steps, "random")


@given(streams())
def test_nothing_is_copied(stream):
    ids, batch_size, _ = stream
    rows = rows_of(ids, batch_size)
    assert rows.shape == (batch_size, len(ids) // batch_size)
    assert rows.dtype == np.int32
    if rows.size:
        assert np.shares_memory(rows, ids)
    for window in all_windows(*stream):
        for array in window:
            assert np.shares_memory(array, ids)


def test_a_longer_stream_by_sums():
    """Every predictable place of an odd-sized text is a target exactly once."""
    ids = np.arange(10_007, dtype=np.int32)
    seen = np.concatenate([t.reshape(-1) for _, t in all_windows(ids, 7, 13)])
    rows = rows_of(ids, 7)
    whole = (rows.shape[1] - 1) // 13 * 13
    assert sorted(seen.tolist()) == sorted(rows[:, 1 : whole + 1].reshape(-1).tolist())
    assert len(set(seen.tolist())) == seen.size


@given(streams(), st.integers(0, 3))
def test_windows_of_equal_length_by_number(stream, epoch):
    """Every epoch has as many, and they are those of the functions above."""
    kinds = {
        SequentialWindows(*stream): all_windows(*stream),
        RandomWindows(*stream, seed=1): random_windows(*stream, (1, epoch)),
    }
    for windows, expected in kinds.items():
        assert windows.count(epoch) == len(expected)
        found = [windows.read(epoch, n) for n in range(windows.count(epoch))]
        assert as_lists(found) == as_lists(expected)
        for number in range(len(expected) + 1):
            tokens = sum(targets.size for _, targets in expected[:number])
            assert windows.tokens(epoch, number) == tokens


@given(st.integers(0, 3000), st.integers(5, 90), st.integers(0, 5))
def test_random_lengths_tile_the_columns(columns, num_steps, epoch):
    begins = draw_lengths(columns, num_steps, (1, epoch))
    assert begins[0] == 0 and begins.dtype == np.int64
    assert (np.diff(begins) >= SHORTEST_LENGTH).all()
    assert 0 <= columns - begins[-1] < SHORTEST_LENGTH
    again = draw_lengths(columns, num_steps, (1, epoch))
    assert again.tolist() == begins.tolist()


def test_random_lengths_are_distributed_as_in_the_authors_code():
    """Of awd-lstm-lm, main.py: bptt or its half, then max(5, int(normal(bptt, 5)))."""
    lengths = np.diff(draw_lengths(2_000_000, 70, (3, 0)))[:-1]
    rng = np.random.RandomState(0)
    authors = []
    for _ in range(len(lengths)):
        bptt = 70 if rng.random_sample() < 0.95 else 70 / 2.0
        authors.append(max(5, int(rng.normal(bptt, 5))))
    authors = np.array(authors)
    for low, high in ((0, 30), (30, 52), (52, 65), (65, 70), (70, 75), (75, 99)):
        ours, theirs = (
            np.mean((low <= each) & (each < high)) for each in (lengths, authors)
        )
        assert ours == pytest.approx(theirs, abs=0.012), (low, high)
    assert np.mean(lengths < 52) == pytest.approx(0.05, abs=0.005)


def test_random_lengths_depend_on_seed_and_epoch_alone():
    seeds = [(1, 0), (1, 1), (2, 0)]
    drawn = {tuple(draw_lengths(5000, 20, seed).tolist()) for seed in seeds}
    assert len(drawn) == 3


@settings(deadline=None)
@given(streams(), st.integers(0, 9))
def test_windows_of_random_length_carry_the_state(stream, epoch):
    """In the text's order, each beginning where the last ended; nothing is copied."""
    ids, batch_size, _ = stream
    ids = np.tile(ids, 9)
    windows = RandomLengthWindows(ids, batch_size, 7, seed=1)
    rows, column = rows_of(ids, batch_size), 0
    for number in range(windows.count(epoch)):
        inputs, targets = windows.read(epoch, number)
        end = column + inputs.shape[1]
        assert windows.tokens(epoch, number) == batch_size * column
        assert inputs.tolist() == rows[:, column:end].tolist()
        assert targets.tolist() == rows[:, column + 1 : end + 1].tolist()
        assert np.shares_memory(inputs, ids)
        column = end
    assert windows.tokens(epoch, windows.count(epoch)) == batch_size * column
