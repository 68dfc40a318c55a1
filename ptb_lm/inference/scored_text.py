"""The scores of the tokens of a text, and of its words."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ptb_lm.data.unknown import UnknownTokens
from ptb_lm.data.vocabulary import UNKNOWN, Vocabulary
from ptb_lm.evaluation.metrics import Score


class ScoredToken(NamedTuple):
    """A token of a text, or a word of characters.

    Attributes:
      written: as it stands in the text.
      read: as the model reads it; None where it is left out.
      nats: -log p, its surprisal; None where it is left out, or where nothing comes
        before it, so that it is not counted.
      is_unknown: whether it is ``<unk>`` or left out.
      line: number of its line in the text, from 0.
    """

    written: str
    read: str | None
    nats: float | None
    is_unknown: bool
    line: int


@dataclasses.dataclass(frozen=True)
class ScoredText:
    """The scores of a text's tokens.

    Attributes:
      rows: every token of the text, those that are left out too.
      counts_unknown: whether the score counts tokens that are read as ``<unk>``.
    """

    rows: list[ScoredToken]
    counts_unknown: bool = True

    @property
    def tokens(self) -> list[str]:
        """The tokens as the model reads them."""
        return [row.read for row in self.rows if row.read is not None]

    @property
    def nats(self) -> list[float | None]:
        """Of each of `tokens`, -log p; None where nothing comes before it."""
        return [row.nats for row in self.rows if row.read is not None]

    @property
    def unknown_tokens(self) -> int:
        """Number of tokens that are ``<unk>`` or left out."""
        return sum(row.is_unknown for row in self.rows)

    @property
    def unknown(self) -> UnknownTokens:
        """How much of the text is unknown."""
        left_out = sum(row.read is None for row in self.rows)
        share = self.unknown_tokens / max(len(self.rows), 1)
        return UnknownTokens(share, left_out)

    @property
    def score(self) -> Score:
        """Sum over the tokens that are counted."""
        counted = [
            row.nats
            for row in self.rows
            if row.nats is not None
            if self.counts_unknown or not row.is_unknown
        ]
        return Score(float(np.sum(counted)), len(counted))

    def by_word(self, join: Callable[[list[str]], str] = "".join) -> "ScoredText":
        """The same of a text of characters or bytes, added up to words.

        The surprisal of a word is that of its characters and of the white space after
        it. So it is -log p(word | what is before it), over all words that may stand
        there: the blank tells "the" from "there". (Pimentel and Meister 2024, "How to
        compute the probability of a word", section 3; Oh and Schuler 2024, "Leading
        whitespaces of language models' subword vocabulary pose a confound for
        calculating word probabilities".) White space before the first word counts
        with that word. So every token is in one word, and the total is the same.

        Args:
          join: makes a word of its tokens.
        """
        is_blank = [row.written.isspace() for row in self.rows]
        begins = [
            place
            for place in range(1, len(self.rows))
            if is_blank[place - 1] and not is_blank[place]
            if not all(is_blank[:place])
        ]
        bounds = [0, *begins, len(self.rows)]
        groups = [self.rows[b:e] for b, e in itertools.pairwise(bounds) if b < e]
        return dataclasses.replace(self, rows=[_word(each, join) for each in groups])


def _word(rows: list[ScoredToken], join: Callable[[list[str]], str]) -> ScoredToken:
    """A word of its characters or bytes and the white space around it."""
    letters = [row for row in rows if not row.written.isspace()] or rows
    nats = [row.nats for row in rows if row.nats is not None]
    is_left_out = all(row.read is None for row in rows)
    return ScoredToken(
        join([row.written for row in letters]),
        None if is_left_out else join([row.read for row in letters if row.read]),
        math.fsum(nats) if nats else None,
        any(row.is_unknown for row in rows),
        letters[0].line,
    )


def scored_text(
    written: Sequence[str],
    nats: Sequence[float | None],
    vocabulary: Vocabulary,
    line_end: str | None,
    *,
    leaves_out: bool,
) -> ScoredText:
    """Joins the tokens of a text with their scores.

    Args:
      written: the tokens as they stand in the text.
      nats: of those that the model reads, in order.
      vocabulary: the model's.
      line_end: the token that ends a line; None: the text is one line.
      leaves_out: whether the model does not read the tokens that the vocabulary lacks;
        it reads them as ``<unk>`` otherwise.

    Raises:
      UserError: the perplexity is not finite.
    """
    rows: list[ScoredToken] = []
    left, line = iter(nats), 0
    for token in written:
        if token not in vocabulary and leaves_out:
            rows.append(ScoredToken(token, None, None, True, line))
        else:
            read = token if token in vocabulary else UNKNOWN
            rows.append(ScoredToken(token, read, next(left), read == UNKNOWN, line))
        line += token == line_end
    scored = ScoredText(rows)
    scored.score.check_finite()
    return scored
