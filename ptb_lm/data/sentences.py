"""The sentences of a text in an order of their own for every epoch.

A sentence is a line. A corpus such as the One Billion Word Benchmark has sentences that
have nothing to do with each other; whether one follows another is an accident, which a
network that reads the text again and again would learn.
"""

import functools

import numpy as np

from ptb_lm.errors import UserError

_OF_ORDERS = 1  # last part of the seed: other draws of an epoch have none
_IDS_AT_A_TIME = 1 << 20


class ShuffledSentences:
    """A text whose sentences have another order in every epoch.

    (seed, epoch) decides the order. What follows the last line end stays at the end.
    It takes 12 bytes of memory a sentence, or 20 in a text of 2^32 tokens or more, and
    4 or 8 more while an order is drawn; nothing of the text itself is copied.
    """

    def __init__(self, ids: np.ndarray, line_end: int | None, seed: int):
        """Finds the sentences.

        Args:
          ids: int32 or uint16 [tokens].
          line_end: id of the token that ends a sentence; None: no token does.
          seed: with the epoch, it decides the order.

        Raises:
          UserError: there are no two sentences.
        """
        if line_end is None:
            raise UserError(
                "--shuffle_sentences needs the ends of lines, which this corpus has not"
                " kept (--normalize=letters makes spaces of them); leave it out"
            )
        self._ids, self._seed = ids, seed
        self._type = np.uint32 if len(ids) < 2**32 else np.int64
        self._bounds = self._found(line_end)  # of all sentences, [sentences + 1]
        if len(self._bounds) < 3:
            raise UserError(
                "--shuffle_sentences: the training text has no two lines, so that there"
                " is nothing to shuffle; leave it out"
            )
        self._order = functools.lru_cache(maxsize=1)(self._drawn)

    def rows(self, epoch: int, batch_size: int, begin: int, end: int) -> np.ndarray:
        """Some columns of the streams into which the text of an epoch is cut.

        Args:
          epoch: from 0.
          batch_size: number of streams, each of tokens // batch_size tokens.
          begin: first column.
          end: column after the last.

        Returns:
          int32 [batch_size, end - begin].
        """
        length = len(self._ids) // batch_size
        places = np.arange(batch_size)[:, None] * length + np.arange(begin, end)
        return self._ids[self._origins(epoch, places)].astype(np.int32, copy=False)

    def _origins(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Where in the text the tokens of these places of an epoch are."""
        order, ends = self._order(int(epoch))
        number = np.searchsorted(ends, places, side="right")
        within = number < len(order)  # the others are after the last line end
        number = np.minimum(number, len(order) - 1)
        sentence = order[number]
        bounds = self._bounds[sentence + 1].astype(np.int64)
        from_end = ends[number].astype(np.int64) - places
        return np.where(within, bounds - from_end, places)

    def _drawn(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The sentences in an epoch's order; and where each ends in its text."""
        order = np.arange(len(self._bounds) - 1, dtype=np.uint32)
        np.random.default_rng((self._seed, epoch, _OF_ORDERS)).shuffle(order)
        lengths = np.diff(self._bounds)[order]
        return order, np.cumsum(lengths, dtype=self._type)

    def _found(self, line_end: int) -> np.ndarray:
        """Where the sentences begin, and the last one ends."""
        bounds = [np.zeros(1, self._type)]
        for begin in range(0, len(self._ids), _IDS_AT_A_TIME):
            piece = self._ids[begin : begin + _IDS_AT_A_TIME]
            ends = np.flatnonzero(piece == line_end) + (begin + 1)
            bounds.append(ends.astype(self._type))
        return np.concatenate(bounds)
