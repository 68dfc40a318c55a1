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

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ptb_lm.evaluation.method import Method
from ptb_lm.system.progress import Update

MOST_ROWS = 32
# Trained networks forget within about a thousand tokens, to the last bits.
SHORTEST_ROW = 1536
# A network that remembers for longer is read as one stream.
MOST_PASSES = 3


class StatefulMethod(Method, Protocol):
    """A method that keeps nothing of a text but the state of a network.

    Attributes:
      state: tensors [batch, ...], nested; it may be set.
      state_rounding: how far apart two states may be by rounding alone, as `distance`
        measures it; None: unknown.
    """

    state: Any
    state_rounding: float | None


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
    """Scores of a text, read in rows.

    Args:
      method: scores the rows.
      ids: int32 [tokens], longer than the number of rows.
      rows: their number.
      chunk_tokens: to read in one call of the method.
      after_chunk: called after every chunk of the first pass with the number of tokens
        that are scored, and of those in all.

    Returns:
      -log p in nats of all tokens but the first, float32 [tokens - 1]; None for a
      network that does not forget soon enough.
    """
    predicted = len(ids) - 1
    length = -(-predicted // rows)
    padded = np.zeros(rows * length + 1, np.int32)
    padded[: len(ids)] = ids
    shape = rows, length
    inputs, targets = padded[:-1].reshape(shape), padded[1:].reshape(shape)
    steps = max(chunk_tokens // rows, 1)
    chunks = [slice(begin, begin + steps) for begin in range(0, length, steps)]

    def score() -> Iterator[tuple[slice, np.ndarray]]:
        for chunk in chunks:
            nats = method.score(
                tf.constant(inputs[:, chunk]), tf.constant(targets[:, chunk])
            )
            yield chunk, nats.numpy()

    found = np.empty(shape, np.float32)
    method.begin(rows)
    try:
        states = []
        for chunk, nats in score():
            found[:, chunk] = nats
            states.append(method.state)
            after_chunk(min(rows * chunk.stop, predicted), predicted)
        for _ in range(MOST_PASSES - 1):
            method.state = tf.nest.map_structure(_of_the_row_before, states[-1])
            for number, (chunk, nats) in enumerate(score()):
                found[:, chunk] = nats
                earlier, states[number] = states[number], method.state
                if distance(earlier, method.state) <= (method.state_rounding or 0):
                    return found.reshape(-1)[:predicted]
    finally:
        method.end()
    return None


def _of_the_row_before(part: tf.Tensor) -> tf.Tensor:
    """Part of the state [rows, ...] of the row before each; zero before the first."""
    return tf.concat([tf.zeros_like(part[:1]), part[:-1]], axis=0)


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
