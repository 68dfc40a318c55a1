"""Ids -> a `tf.data` stream of windows, in the text's order or at random.

In order, the text is cut into `batch_size` rows of equal length, and each window
is the next `num_steps` columns. A window's first input is the previous window's
last target, so the network's state can be carried from one window to the next.

At random, the text from a random offset on is cut into pieces of `num_steps`, and
each window is `batch_size` of these, drawn without replacement (the random sampling
of Zhang et al., Dive into Deep Learning, section 9.3). Rows of two windows are not
neighbours, so no state is carried.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError


def rows_of(ids: np.ndarray, batch_size: int) -> np.ndarray:
    """The text as contiguous rows.

    Args:
      ids: int32 [tokens].
      batch_size: number of rows.

    Returns:
      A view, int32 [batch_size, tokens // batch_size]; the last
      `tokens % batch_size` tokens are dropped, as in the PTB tutorial.
    """
    row_length = len(ids) // batch_size
    return ids[: batch_size * row_length].reshape(batch_size, row_length)


def count_windows(
    num_tokens: int, batch_size: int, num_steps: int, order: str = "sequential"
) -> int:
    """Windows of an epoch.

    Args:
      num_tokens: length of the text.
      batch_size: rows of a window.
      num_steps: columns of a window.
      order: "sequential": (tokens // batch_size - 1) // num_steps. "random": as
        many as there are whatever the offset, of which the largest leaves
        (tokens - num_steps) // num_steps pieces.
    """
    if order == "random":
        return max(num_tokens - num_steps, 0) // num_steps // batch_size
    return max(num_tokens // batch_size - 1, 0) // num_steps


def check_length(
    name: str,
    num_tokens: int,
    batch_size: int,
    num_steps: int,
    order: str = "sequential",
) -> None:
    """Raises UserError where a text is too short for a single window."""
    if count_windows(num_tokens, batch_size, num_steps, order) == 0:
        needed = {
            "sequential": batch_size * (num_steps + 1),
            "random": (batch_size + 1) * num_steps,
        }
        raise UserError(
            f"the {name} text has {num_tokens} tokens, too few for one window:"
            f" --batch_size={batch_size} and --num_steps={num_steps} need"
            f" {needed[order]}"
        )


def iterate_windows(
    ids: np.ndarray, batch_size: int, num_steps: int, start: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (inputs, targets), int32 views [batch_size, num_steps], in order.

    Args:
      ids: int32 [tokens].
      batch_size: number of rows.
      num_steps: columns of a window.
      start: number of windows to skip, to go on in the middle of an epoch.
    """
    rows = rows_of(ids, batch_size)
    for window in range(start, count_windows(len(ids), batch_size, num_steps)):
        begin = window * num_steps
        end = begin + num_steps
        yield rows[:, begin:end], rows[:, begin + 1 : end + 1]


def iterate_random_windows(
    ids: np.ndarray,
    batch_size: int,
    num_steps: int,
    seed: tuple[int, int],
    start: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (inputs, targets), int32 [batch_size, num_steps], in random order.

    Args:
      ids: int32 [tokens].
      batch_size: rows of a window.
      num_steps: columns of a window.
      seed: (seed, epoch): what is drawn depends on these alone.
      start: number of windows to skip, to go on in the middle of an epoch.
    """
    random = np.random.default_rng(seed)
    offset = random.integers(num_steps)
    pieces = random.permutation((len(ids) - 1 - offset) // num_steps)
    columns = np.arange(num_steps + 1)
    for window in range(
        start, count_windows(len(ids), batch_size, num_steps, "random")
    ):
        begins = offset + num_steps * pieces[window * batch_size :][:batch_size]
        rows = ids[begins[:, None] + columns]
        yield rows[:, :-1], rows[:, 1:]


def windows(
    ids: np.ndarray,
    batch_size: int,
    num_steps: int,
    place: Callable[[], tuple[int, int]] = lambda: (0, 0),
    seed: int | None = None,
) -> tf.data.Dataset:
    """The windows of an epoch as a prefetching `tf.data.Dataset`.

    One serves all epochs: TensorFlow never forgets a generator, so that a dataset
    for each epoch would take more and more memory.

    Args:
      ids: int32 [tokens].
      batch_size: rows of a window.
      num_steps: columns of a window.
      place: tells, whenever the dataset is iterated anew, the epoch and the number
        of windows of it to skip.
      seed: of `iterate_random_windows`; None: `iterate_windows`.
    """

    def iterate():
        epoch, start = place()
        if seed is None:
            return iterate_windows(ids, batch_size, num_steps, start)
        return iterate_random_windows(ids, batch_size, num_steps, (seed, epoch), start)

    spec = tf.TensorSpec([batch_size, num_steps], tf.int32)
    dataset = tf.data.Dataset.from_generator(iterate, output_signature=(spec, spec))
    return dataset.prefetch(8)
