"""Ids -> a `tf.data` stream of windows that tile the text in order.

The text is cut into `batch_size` rows of equal length, and each window is the
next `num_steps` columns. A window's first input is the previous window's last
target, so the network's state can be carried from one window to the next.
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


def count_windows(num_tokens: int, batch_size: int, num_steps: int) -> int:
    """Windows of an epoch: (tokens // batch_size - 1) // num_steps."""
    return max(num_tokens // batch_size - 1, 0) // num_steps


def check_length(name: str, num_tokens: int, batch_size: int, num_steps: int) -> None:
    """Raises UserError where a text is too short for a single window."""
    if count_windows(num_tokens, batch_size, num_steps) == 0:
        raise UserError(
            f"the {name} text has {num_tokens} tokens, too few for one window:"
            f" --batch_size={batch_size} and --num_steps={num_steps} need"
            f" {batch_size * (num_steps + 1)}"
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


def windows(
    ids: np.ndarray,
    batch_size: int,
    num_steps: int,
    start: Callable[[], int] = lambda: 0,
) -> tf.data.Dataset:
    """`iterate_windows` as a prefetching `tf.data.Dataset`.

    One serves all epochs: TensorFlow never forgets a generator, so that a dataset
    for each epoch would take more and more memory.

    Args:
      ids: int32 [tokens].
      batch_size: number of rows.
      num_steps: columns of a window.
      start: tells, whenever the dataset is iterated anew, how many windows to skip.
    """
    spec = tf.TensorSpec([batch_size, num_steps], tf.int32)
    dataset = tf.data.Dataset.from_generator(
        lambda: iterate_windows(ids, batch_size, num_steps, start()),
        output_signature=(spec, spec),
    )
    return dataset.prefetch(8)
