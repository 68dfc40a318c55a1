"""Windows of a text's ids, in the text's order or at random.

In order, the text is cut into `batch_size` streams of equal length, the rows of a
matrix, and each window is the next `num_steps` columns. A window's first input is the
previous window's last target, so that the network's state can be carried from one
window to the next. The windows may also have lengths of their own, drawn at random
(Merity et al. 2017).

At random, the text from a random offset on is cut into pieces of `num_steps` tokens.
Each window has `batch_size` of these as its rows, drawn without replacement (the random
sampling of Zhang et al., Dive into Deep Learning, section 9.3). The pieces of a window
do not continue those of the window before, so no state is carried.

`Windows` is what a training reads: the windows of each of its epochs, by number.
"""

import abc
import functools

import numpy as np

from ptb_lm.config import TrainingConfig
from ptb_lm.data.sentences import ShuffledSentences
from ptb_lm.errors import UserError

# Of windows of random length, in tokens (Merity et al. 2017, and their code).
SHORTEST_LENGTH, LENGTH_SPREAD, FULL_LENGTH_SHARE = 5, 5.0, 0.95


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


def fills_window(num_tokens: int, batch_size: int, num_steps: int) -> bool:
    """Whether a text is long enough for one window of streams."""
    return count_windows(num_tokens, batch_size, num_steps) > 0


def draw_lengths(columns: int, num_steps: int, seed: tuple[int, int]) -> np.ndarray:
    """Where the windows of an epoch begin, of lengths drawn at random.

    The length of a window is drawn from N(base, 5), cut off to an integer, and at
    least 5; the base is num_steps with probability 0.95, else half of it (Merity et
    al. 2017, section 5; the constants of the authors' code). The last window is cut to
    what is left, which is left out where it is less than 5.

    Args:
      columns: to be cut into windows.
      num_steps: base length.
      seed: (seed, epoch): what is drawn depends on these alone.

    Returns:
      First column of each window, and the end of the last, int64 [windows + 1].
    """
    random = np.random.default_rng(seed)
    most = columns // SHORTEST_LENGTH + 1
    halved = random.random(most) >= FULL_LENGTH_SHARE
    bases = np.where(halved, num_steps / 2, float(num_steps))
    lengths = random.normal(bases, LENGTH_SPREAD).astype(np.int64)
    begins = np.cumsum(np.maximum(lengths, SHORTEST_LENGTH))
    begins = np.concatenate([[0], begins[begins <= columns]])
    rest = [columns] if columns - begins[-1] >= SHORTEST_LENGTH else []
    return np.append(begins, rest).astype(np.int64)


def read_window(
    ids: np.ndarray, batch_size: int, num_steps: int, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """A window in the text's order: (inputs, targets), int32 [batch_size, num_steps].

    Args:
      ids: int32 or uint16 [tokens]; of int32, views are returned.
      batch_size: number of rows.
      num_steps: columns of a window.
      window: its number, below `count_windows`.
    """
    return SequentialWindows(ids, batch_size, num_steps).read(0, window)


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
    rows = ids[begins[:, None] + np.arange(num_steps + 1)].astype(np.int32, copy=False)
    return rows[:, :-1], rows[:, 1:]


class Windows(abc.ABC):
    """The windows of a training text, epoch by epoch, read by number.

    Everything is a function of the text, the options and the epoch, so that a resumed
    run reads what an uninterrupted one does. Two epochs need not have equally many
    windows, nor two windows equally many columns.

    Attributes:
      batch_size: rows of a window.
      num_steps: columns of a window; None where they differ.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        num_steps: int | None,
        sentences: ShuffledSentences | None = None,
    ):
        """Takes the text and the shape of a window.

        Args:
          ids: int32 or uint16 [tokens].
          batch_size: rows of a window.
          num_steps: columns of a window; None where they differ.
          sentences: the text in another order for every epoch; None: in its own.
        """
        self._ids, self._sentences = ids, sentences
        self.batch_size, self.num_steps = batch_size, num_steps

    def _columns(
        self, epoch: int, begin: int, end: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of an epoch's streams, int32 [batch_size, columns]."""
        if self._sentences:
            found = self._sentences.rows(epoch, self.batch_size, begin, end + 1)
        else:
            found = rows_of(self._ids, self.batch_size)[:, begin : end + 1]
        window = found.astype(np.int32, copy=False)
        return window[:, :-1], window[:, 1:]

    @abc.abstractmethod
    def count(self, epoch: int) -> int:
        """Windows of an epoch, which is counted from 0."""

    @abc.abstractmethod
    def tokens(self, epoch: int, window: int) -> int:
        """Tokens that the windows of an epoch before a window have for targets."""

    @abc.abstractmethod
    def read(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """One window, from 0: (inputs, targets), int32 [batch_size, columns]."""


class _EqualWindows(Windows):
    """Windows of `num_steps` columns, of which every epoch has the same number."""

    order: str

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        num_steps: int,
        sentences: ShuffledSentences | None = None,
    ):
        super().__init__(ids, batch_size, num_steps, sentences)
        self._steps = num_steps
        self._count = count_windows(len(ids), batch_size, num_steps, self.order)

    def count(self, epoch: int) -> int:
        """As `Windows.count`."""
        return self._count

    def tokens(self, epoch: int, window: int) -> int:
        """As `Windows.tokens`."""
        return window * self.batch_size * self._steps


class SequentialWindows(_EqualWindows):
    """The windows in the text's order, as in the PTB tutorial."""

    order = "sequential"

    def read(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Windows.read`; of int32 in the text's own order, views of it."""
        begin = int(window) * self._steps
        return self._columns(epoch, begin, begin + self._steps)


class RandomWindows(_EqualWindows):
    """Windows of pieces of the text in random order, from a random offset."""

    order = "random"

    def __init__(self, ids: np.ndarray, batch_size: int, num_steps: int, seed: int):
        """Takes the seed too; what is drawn depends on it and the epoch."""
        super().__init__(ids, batch_size, num_steps)
        self._seed = seed
        self._begins = functools.lru_cache(maxsize=1)(self._draw)

    def read(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Windows.read`."""
        first = window * self.batch_size
        begins = self._begins(epoch)[first : first + self.batch_size]
        return read_pieces(self._ids, begins, self._steps)

    def _draw(self, epoch: int) -> np.ndarray:
        """Where the pieces of an epoch begin."""
        return draw_pieces(len(self._ids), self._steps, (self._seed, epoch))


class RandomLengthWindows(Windows):
    """Windows in the text's order whose lengths are drawn for every epoch."""

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        num_steps: int,
        seed: int,
        sentences: ShuffledSentences | None = None,
    ):
        """As `Windows`; also takes the base length, and the seed of the lengths."""
        super().__init__(ids, batch_size, None, sentences)
        self._base, self._seed = num_steps, seed
        # Of this epoch and the one before, which an interval of steps may begin in.
        self._begins = functools.lru_cache(maxsize=2)(self._draw)

    def count(self, epoch: int) -> int:
        """As `Windows.count`."""
        return len(self._begins(epoch)) - 1

    def tokens(self, epoch: int, window: int) -> int:
        """As `Windows.tokens`."""
        return self.batch_size * int(self._begins(epoch)[window])

    def read(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Windows.read`; of int32 in the text's own order, views of it."""
        begin, end = map(int, self._begins(int(epoch))[window : window + 2])
        return self._columns(epoch, begin, end)

    def _draw(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, and the last ends."""
        columns = max(len(self._ids) // self.batch_size - 1, 0)
        return draw_lengths(columns, self._base, (self._seed, epoch))


def training_windows(
    ids: np.ndarray, training: TrainingConfig, line_end: int | None = None
) -> Windows:
    """The windows that a configuration asks for.

    Args:
      ids: the text, int32 or uint16 [tokens].
      training: the options.
      line_end: id of the token that ends a sentence; None: no token does.

    Raises:
      UserError: as `ShuffledSentences`, if sentences are to be shuffled.
    """
    batch = training.batch_size, training.num_steps
    sentences = None
    if training.shuffle_sentences:
        sentences = ShuffledSentences(ids, line_end, training.seed)
    if training.windows == "random":
        return RandomWindows(ids, *batch, training.seed)
    if training.window_lengths == "random":
        return RandomLengthWindows(ids, *batch, training.seed, sentences)
    return SequentialWindows(ids, *batch, sentences)
