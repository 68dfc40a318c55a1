"""How sure a perplexity is: bootstrap intervals over the sentences of a text.

Sentences are drawn from the text with replacement, as many as it has, many times; the
interval holds the middle of the perplexities that these samples have. (Efron and
Tibshirani 1993, chapter 13; Koehn 2004, "Statistical significance tests for machine
translation evaluation", for the paired form.)
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

SAMPLES = 2000
_SAMPLES_AT_A_TIME = 100


class Interval(NamedTuple):
    """Where the true figure may be.

    Attributes:
      low: lower end.
      high: upper end.
    """

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Sentences:
    """What each sentence of a text adds to its score.

    Attributes:
      nats: float64 [sentences].
      tokens: int64 [sentences].
    """

    nats: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, nats: np.ndarray, ids: np.ndarray, line_end: int | None) -> "Sentences":
        """Adds up the tokens of each sentence.

        Args:
          nats: of the tokens of a text but the first, float [tokens - 1].
          ids: of the text, int [tokens].
          line_end: id of the token that ends a sentence; None: each token is one.
        """
        ends = np.ones(len(nats), bool)
        if line_end is not None:
            ends = ids[1:] == line_end
            ends[-1] = True
        begins = np.flatnonzero(np.concatenate([[True], ends[:-1]]))
        sums = np.add.reduceat(nats.astype(np.float64), begins)
        return cls(sums, np.diff(np.append(begins, len(nats))))


def perplexity_interval(
    sentences: Sentences, confidence: float, seed: int = 0
) -> Interval:
    """Interval of a text's perplexity.

    Args:
      sentences: of the text, at least one.
      confidence: share of such intervals that hold the true perplexity, in (0, 1).
      seed: of the samples.
    """
    nats, tokens = _resampled([sentences.nats, sentences.tokens], seed)
    low, high = _middle(nats / tokens, confidence)
    return Interval(math.exp(low), math.exp(high))


def ratio_interval(
    first: Sentences, second: Sentences, confidence: float, seed: int = 0
) -> Interval:
    """Interval of the ratio of two perplexities of the same text, first to second.

    Paired: both are taken of the same samples, so that what makes a sentence hard for
    both does not count. An interval without 1 tells the two apart.

    Args:
      first: the sentences as one model scores them.
      second: the same sentences as another scores them.
      confidence: as in `perplexity_interval`.
      seed: of the samples.
    """
    difference, tokens = _resampled([first.nats - second.nats, first.tokens], seed)
    low, high = _middle(difference / tokens, confidence)
    return Interval(math.exp(low), math.exp(high))


def _resampled(values: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Sums of each array over the sentences of every sample, float64 [SAMPLES]."""
    rng, count = np.random.default_rng(seed), len(values[0])
    stacked = np.stack(values, axis=1).astype(np.float64)
    sums = []
    for _ in range(SAMPLES // _SAMPLES_AT_A_TIME):
        drawn = rng.integers(0, count, (_SAMPLES_AT_A_TIME, count))
        sums.append(stacked[drawn].sum(axis=1))
    return list(np.concatenate(sums).T)


def _middle(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The ends of the middle part of some values."""
    outside = (1 - confidence) / 2
    low, high = np.quantile(values, [outside, 1 - outside])
    return float(low), float(high)
