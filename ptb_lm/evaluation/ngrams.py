"""n-gram models: interpolated modified Kneser-Ney estimates, and their probabilities.

An n-gram of length k is a row of the table of its order: the row of its first k - 1
tokens in the table before, and its last token. So a table is one sorted array of
numbers, row * vocabulary + token, and a text is looked up by binary search, all of its
positions at once.

Where the vocabulary has ``<eos>``, no n-gram reaches beyond a line: ``<eos>`` is its
first token (the beginning of a line, which ARPA files call <s>) or its last one (the
end, </s>), and not between.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Of lmplz --discount_fallback.
FALLBACK_DISCOUNTS = np.array([0.0, 0.5, 1.0, 1.5])

_ABSENT = -1


@dataclasses.dataclass(frozen=True)
class Table:
    """The n-grams of one length, sorted by key.

    Attributes:
      keys: row of the n-gram's beginning * vocabulary size + its last token, int64
        [rows], ascending. Of single tokens, the token.
      log_probs: log of the last token's probability after the others, in nats, float64
        [rows].
      log_backoffs: log of what the probabilities of shorter n-grams are multiplied by
        after this one, in nats, float64 [rows]; 0 where nothing longer begins with it.
    """

    keys: np.ndarray
    log_probs: np.ndarray
    log_backoffs: np.ndarray

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Row of each key, int64, the same shape; -1 where there is none."""
        return _find(self.keys, keys)


class NGrams:
    """A backoff model over the tokens of a vocabulary.

    Attributes:
      tables: of each order, from 1.
      vocab_size: number of tokens.
      line_end: id of ``<eos>``; None where lines do not bound n-grams.
    """

    def __init__(self, tables: Sequence[Table], vocab_size: int, line_end: int | None):
        self.tables = tuple(tables)
        self.vocab_size = vocab_size
        self.line_end = line_end

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.tables)

    def log_probs(self, ids: np.ndarray) -> np.ndarray:
        """Log-probability of each token of a text after those before it, in nats.

        Args:
          ids: int [tokens].

        Returns:
          Float64 [tokens]. The first token has no other before it.
        """
        keys = [table.keys for table in self.tables]
        rows = _rows(ids, keys, self.vocab_size, self.line_end)
        logs = self.tables[0].log_probs[rows[0]].copy()
        for number in range(1, self.order):
            table, shorter = self.tables[number], self.tables[number - 1]
            found = rows[number] != _ABSENT
            logs[found] = table.log_probs[rows[number][found]]
            context = np.concatenate([[_ABSENT], rows[number - 1][:-1]])
            if self.line_end is not None and number > 1:
                # After the end of a line only the line end itself is a context.
                context[1:][ids[:-1] == self.line_end] = _ABSENT
            backs_off = ~found & (context != _ABSENT)
            logs[backs_off] += shorter.log_backoffs[context[backs_off]]
        return logs


def estimate(
    ids: np.ndarray, order: int, vocab_size: int, line_end: int | None
) -> NGrams:
    """Interpolated modified Kneser-Ney, without cut-offs.

        p(w | h) = (c(hw) - D(c(hw))) / c(h) + g(h) p(w | h without its first token)

    with three discounts D for every order, found from the counts of counts; g(h) is
    what the discounts leave. c is how often the n-gram is in the text for the longest
    n-grams and for those that begin a line, and for the others how many different
    tokens stand before it. Below the single tokens there is the uniform distribution.
    (Chen and Goodman 1999, "An empirical study of smoothing techniques for language
    modeling", sections 2.7 and 3; lines as in SRILM and KenLM.)

    Args:
      ids: the training text, int [tokens].
      order: length of the longest n-grams.
      vocab_size: number of tokens.
      line_end: id of ``<eos>``; None where lines do not bound n-grams.
    """
    if line_end is not None:
        # The first line begins as all others do.
        ids = np.concatenate([[line_end], ids])
    keys, rows = _distinct(ids, order, vocab_size, line_end)
    counts = _counts(ids, keys, rows, vocab_size, line_end)
    tables: list[Table] = []
    for number in range(order):
        context = keys[number] // vocab_size if number else np.zeros_like(keys[0])
        contexts = len(keys[number - 1]) if number else 1
        discounted, left = _discount(counts[number], context, contexts)
        if number:
            lower = tables[-1].log_probs[_suffixes(number, keys, rows)]
            last = tables[-1]
            tables[-1] = dataclasses.replace(last, log_backoffs=np.log(left))
            probs = discounted + left[context] * np.exp(lower)
        else:
            probs = discounted + left[0] / vocab_size
        zeros = np.zeros(len(probs))
        with np.errstate(divide="ignore"):
            tables.append(Table(keys[number], np.log(probs), zeros))
    return NGrams(tables, vocab_size, line_end)


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Place of each number in an ascending array; -1 where it is not there."""
    if not len(keys):
        return np.full(wanted.shape, _ABSENT)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, _ABSENT)


def _extended(
    rows: np.ndarray, ids: np.ndarray, order: int, vocab_size: int, line_end: int | None
) -> np.ndarray:
    """Keys of the n-grams of one order that end at each position of a text.

    Args:
      rows: of the n-grams one shorter that end there, int64 [tokens].
      ids: int [tokens].
      order: length of the n-grams, from 2.
      vocab_size: number of tokens.
      line_end: as everywhere.

    Returns:
      int64 [tokens]; negative where no n-gram of this length ends.
    """
    before = np.concatenate([[_ABSENT], rows[:-1]])
    if line_end is not None and order > 2:
        before[1:][ids[:-1] == line_end] = _ABSENT
    return np.where(before == _ABSENT, _ABSENT, before * vocab_size + ids)


def _rows(
    ids: np.ndarray, keys: list[np.ndarray], vocab_size: int, line_end: int | None
) -> list[np.ndarray]:
    """Of each order, the row of the n-gram that ends at each position, or -1."""
    rows = [ids.astype(np.int64)]
    for order, known in enumerate(keys[1:], start=2):
        wanted = _extended(rows[-1], ids, order, vocab_size, line_end)
        rows.append(_find(known, wanted))
    return rows


def _distinct(
    ids: np.ndarray, order: int, vocab_size: int, line_end: int | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The n-grams of a text: their keys, and their rows at each position."""
    keys, rows = [np.arange(vocab_size)], [ids.astype(np.int64)]
    for length in range(2, order + 1):
        wanted = _extended(rows[-1], ids, length, vocab_size, line_end)
        known = np.unique(wanted)
        keys.append(known[known != _ABSENT])
        rows.append(_find(keys[-1], wanted))
    return keys, rows


def _counts(
    ids: np.ndarray,
    keys: list[np.ndarray],
    rows: list[np.ndarray],
    vocab_size: int,
    line_end: int | None,
) -> list[np.ndarray]:
    """C of every n-gram, see `estimate`; int64 arrays like the keys."""
    counts = []
    for number, known in enumerate(keys):
        here = rows[number][rows[number] != _ABSENT]
        count = np.bincount(here, minlength=len(known))
        if number + 1 < len(keys):
            is_first = _begins_line(number, keys, vocab_size, line_end)
            endings = _suffixes(number + 1, keys, rows)
            before = np.bincount(endings, minlength=len(known))
            count = np.where(is_first, count, before)
        counts.append(count)
    if line_end is not None:
        # The line end before the first line is read and not predicted.
        counts[0][line_end] -= int(len(keys) == 1)
    return counts


def _begins_line(
    number: int, keys: list[np.ndarray], vocab_size: int, line_end: int | None
) -> np.ndarray:
    """Whether an n-gram begins with the line end and goes on, bool like the keys."""
    if line_end is None or number == 0:
        return np.zeros(len(keys[number]), bool)
    first = keys[0] == line_end
    for known in keys[1 : number + 1]:
        first = first[known // vocab_size]
    return first


def _suffixes(
    number: int, keys: list[np.ndarray], rows: list[np.ndarray]
) -> np.ndarray:
    """Row of each n-gram without its first token, in the table before; int64."""
    found = np.empty(len(keys[number]), np.int64)
    here = rows[number] != _ABSENT
    found[rows[number][here]] = rows[number - 1][here]
    return found


def _discount(
    counts: np.ndarray, context: np.ndarray, contexts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Discounted relative frequencies, and what is left of each context.

    Args:
      counts: c of each n-gram.
      context: row of its beginning.
      contexts: number of rows there.

    Returns:
      (c - D(c)) / c(context), float64 like the counts; and the sums of D(c) over the
      sum of c, float64 [contexts], 1 where nothing follows.
    """
    discounts = _discounts(counts)
    taken = discounts[np.minimum(counts, 3)]
    total = np.bincount(context, counts, contexts)
    left = np.bincount(context, taken, contexts)
    used = total > 0
    left = np.where(used, left / np.where(used, total, 1.0), 1.0)
    return (counts - taken) / np.where(used, total, 1.0)[context], left


def _discounts(counts: np.ndarray) -> np.ndarray:
    """D of counts 0, 1, 2 and of 3 and more (Chen and Goodman 1999, equation 26).

    KenLM's fallback discounts stand in where a table has no n-gram of one of the counts
    1, 2 and 3, as that of the single tokens of a small vocabulary, or where it has so
    few that a discount would not be positive.
    """
    n1, n2, n3, n4 = (int(np.sum(counts == count)) for count in range(1, 5))
    if not (n1 and n2 and n3):
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([0.0, *found]) if min(found) > 0 else FALLBACK_DISCOUNTS
