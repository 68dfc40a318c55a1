"""Windows of a text's ids, in the text's order or at random.

In order, the text is cut into `batch_size` streams of equal length, the rows of a
matrix, and each window is the next `num_steps` columns. A window's first input is the
previous window's last target, so that the network's state can be carried from one
window to the next.

At random, the text from a random offset on is cut into pieces of `num_steps` tokens.
Each window has `batch_size` of these as its rows, drawn without replacement (the random
sampling of Zhang et al., Dive into Deep Learning, section 9.3). The pieces of a window
do not continue those of the window before, so no state is carried.
"""

import numpy as np

from ptb_lm.errors import UserError


def rows_of(ids: np.ndarray, batch_size: int) -> np.ndarray:
    """The streams of a text, as the rows of a matrix.

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


def read_window(
    ids: np.ndarray, batch_size: int, num_steps: int, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """A window in the text's order: (inputs, targets), views [batch_size, num_steps].

    Args:
      ids: int32 [tokens].
      batch_size: number of rows.
      num_steps: columns of a window.
      window: its number, below `count_windows`.
    """
    rows = rows_of(ids, batch_size)
    begin = window * num_steps
    end = begin + num_steps
    return rows[:, begin:end], rows[:, begin + 1 : end + 1]


def draw_pieces(num_tokens: int, num_steps: int, seed: tuple[int, int]) -> np.ndarray:
    """Where an epoch's pieces begin in the text, in the order they are read.

    Args:
      num_tokens: length of the text.
      num_steps: length of a piece.
      seed: (seed, epoch): what is drawn depends on these alone.
    """
    random = np.random.default_rng(seed)
    offset = random.integers(num_steps)
    return offset + num_steps * random.permutation(
        (num_tokens - 1 - offset) // num_steps
    )


def read_pieces(
    ids: np.ndarray, begins: np.ndarray, num_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """A window of pieces of the text: (inputs, targets), int32 [pieces, num_steps].

    Args:
      ids: int32 [tokens].
      begins: where each piece begins, int64 [pieces].
      num_steps: length of a piece.
    """
    rows = ids[begins[:, None] + np.arange(num_steps + 1)]
    return rows[:, :-1], rows[:, 1:]
