"""One long text as rows that a network reads side by side.

A recurrent network forgets: its state soon depends on the last tokens alone (Miller and
Hardt 2019, "Stable recurrent models"). So the text is cut into rows, and

    pass 1       reads all rows side by side, each from a zero state;
    pass 2, ...  reads them again, each from the state that the row before ended in,
                 until no state differs from that of the pass before.

From there on, the earlier pass has read what this one would read. The scores are then
those of one stream, but for the rounding of float32: this is a Jacobi iteration for the
sequence of states (Song et al. 2021, "Accelerating feedforward computation via parallel
nonlinear equation solving"), which ends at the one solution. Products with many rows
take far less time a token than products with one.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ptb_lm.evaluation.method import Method
from ptb_lm.system.progress import Update

MOST_ROWS = 32
# Trained networks forget within about a thousand tokens, to the last bits.
SHORTEST_ROW = 1536
# What is read of a text's rows is kept until their last pass is done.
LONGEST_ROW = 4096
# A network that remembers for longer is read as one stream.
MOST_PASSES = 3


class StatefulMethod(Method, Protocol):
    """A method in two parts: one reads, with a state, the other goes through the text.

    `Method.score` is `follow` of `read`.

    Attributes:
      state, state_rounding: see `FeatureMethod`; the state may be set.
    """

    state: Any
    state_rounding: float | None

    def read(self, inputs: tf.Tensor, targets: tf.Tensor) -> Any:
        """Reads the next window, which `score` describes; only the state changes.

        Returns:
          What there is to know of each position: tensors [batch, time, ...], nested.
        """

    def follow(self, read: Any) -> tf.Tensor:
        """Scores the next window of the texts from what was read of it.

        Args:
          read: by `read`, cut anywhere.

        Returns:
          As `Method.score`.
        """


def rows_of_stream(method: Method, ids: np.ndarray) -> int:
    """In how many rows a method can read a text, int32 [tokens]; 1: as one stream."""
    if getattr(method, "state_rounding", None) is None:
        return 1
    return max(min(MOST_ROWS, (len(ids) - 1) // SHORTEST_ROW), 1)


def nats_in_rows(
    method: StatefulMethod,
    ids: np.ndarray,
    rows: int,
    chunk_tokens: int,
    after_chunk: Update,
) -> np.ndarray | None:
    """Scores of a text, read in rows; a long text is several times as many rows.

    Args:
      method: scores the rows.
      ids: int32 [tokens], longer than the number of rows.
      rows: their number.
      chunk_tokens: to read in one call of the method.
      after_chunk: called after every chunk of the first pass with the number of tokens
        that are read, and of those in all.

    Returns:
      -log p in nats of all tokens but the first, float32 [tokens - 1]; None for a
      network that does not forget soon enough.
    """
    predicted, steps = len(ids) - 1, max(chunk_tokens // rows, 1)
    parts = -(-predicted // (rows * LONGEST_ROW))
    tokens = rows * -(-predicted // (rows * parts))  # of a part
    nats = []
    method.begin(rows)
    try:
        before = _cut(method.state, slice(1))
        for begin in range(0, predicted, tokens):
            some = ids[begin : begin + tokens + 1]
            padded = np.zeros(tokens + 1, np.int32)
            padded[: len(some)] = some
            window = padded[:-1].reshape(rows, -1), padded[1:].reshape(rows, -1)

            def done(columns: int, begin: int = begin) -> None:
                after_chunk(min(begin + rows * columns, predicted), predicted)

            read = _read_rows(method, window, before, steps, done)
            if read is None:
                return None
            before = _cut(method.state, slice(-1, None))
            read = _cut(read, slice(len(some) - 1))  # without the padding
            for first in range(0, len(some) - 1, chunk_tokens):
                here = _cut(read, (None, slice(first, first + chunk_tokens)))
                nats.append(np.asarray(method.follow(here))[0])
    finally:
        method.end()
    return np.concatenate(nats)


def _read_rows(
    method: StatefulMethod,
    window: tuple[np.ndarray, np.ndarray],
    before: Any,
    steps: int,
    after_chunk: Callable[[int], None],
) -> Any:
    """What a method reads of rows, each of which goes on where the one before it ends.

    Args:
      method: its state is in the end that after the rows.
      window: inputs and targets, int32 [rows, length].
      before: the state before the first row, tensors [1, ...].
      steps: columns to read in one call of the method.
      after_chunk: called in the first pass with the number of columns that are read.

    Returns:
      As `StatefulMethod.read`, of one text, arrays [rows * length, ...]; None for a
      network that does not forget soon enough.
    """
    rows, length = window[0].shape
    chunks = [slice(begin, begin + steps) for begin in range(0, length, steps)]
    found: Any = None

    def read(state: Any) -> Iterator[slice]:
        nonlocal found
        method.state = state
        for chunk in chunks:
            here = method.read(*(tf.constant(ids[:, chunk]) for ids in window))
            if found is None:
                found = tf.nest.map_structure(
                    lambda t: np.empty((rows, length, *t.shape[2:]), t.dtype.name), here
                )
            pairs = zip(tf.nest.flatten(found), tf.nest.flatten(here), strict=True)
            for whole, columns in pairs:
                whole[:, chunk] = columns
            yield chunk

    states = []
    zero = tf.nest.map_structure(tf.zeros_like, method.state)
    for chunk in read(_moved_down(before, zero)):
        states.append(method.state)
        after_chunk(chunk.stop)
    for _ in range(MOST_PASSES - 1):
        for number, _ in enumerate(read(_moved_down(before, states[-1]))):
            earlier, states[number] = states[number], method.state
            if distance(earlier, method.state) <= (method.state_rounding or 0):
                method.state = states[-1]
                return tf.nest.map_structure(
                    lambda whole: whole.reshape(rows * length, *whole.shape[2:]), found
                )
    return None


def _cut(arrays: Any, place: Any) -> Any:
    """A part of each of nested arrays."""
    return tf.nest.map_structure(lambda whole: whole[place], arrays)


def _moved_down(before: Any, state: Any) -> Any:
    """The state [rows, ...] of the row before each; before the first, `before`."""
    return tf.nest.map_structure(
        lambda first, part: tf.concat([first, part[:-1]], axis=0), before, state
    )


def distance(first: Any, second: Any) -> float:
    """The largest |a - b| / max(|b|, 1) of two states' numbers; NaN is far away."""
    largest = 0.0
    pairs = zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True)
    for a, b in pairs:
        apart = tf.abs(a - b) / tf.maximum(tf.abs(b), 1.0)
        far = float(tf.reduce_max(apart))
        if not far <= largest:
            largest = far
    return largest
