"""Texts, and all windows of them."""

import numpy as np
from hypothesis import strategies as st

from ptb_lm.data.windows import count_windows, draw_pieces, read_pieces, read_window


@st.composite
def streams(draw):
    """(ids, batch_size, num_steps), mostly long enough for several windows.

    The ids are all different, so that two places cannot be taken for each other.
    """
    batch_size = draw(st.integers(1, 6))
    num_steps = draw(st.integers(1, 7))
    length = draw(st.integers(0, batch_size * (num_steps * 5 + 2)))
    ids = np.random.default_rng(length).permutation(1000)[:length]
    return ids.astype(np.int32), batch_size, num_steps


def all_windows(ids, batch_size, num_steps, start=0):
    """The windows of an epoch in the text's order."""
    count = count_windows(len(ids), batch_size, num_steps)
    return [read_window(ids, batch_size, num_steps, w) for w in range(start, count)]


def random_windows(ids, batch_size, num_steps, seed=(1, 0), start=0):
    """The windows of an epoch in random order."""
    begins = draw_pieces(len(ids), num_steps, seed)
    count = count_windows(len(ids), batch_size, num_steps, "random")
    return [
        read_pieces(ids, begins[w * batch_size :][:batch_size], num_steps)
        for w in range(start, count)
    ]


def as_lists(batches):
    """Batches as nested lists of Python numbers, which compare exactly."""
    return [(np.asarray(i).tolist(), np.asarray(t).tolist()) for i, t in batches]
