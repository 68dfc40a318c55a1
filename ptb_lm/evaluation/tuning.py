"""Finds the constants of dynamic evaluation and of the cache on a validation text."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import CHUNK_TOKENS, Evaluator
from ptb_lm.evaluation.method import FeatureMethod, Method
from ptb_lm.evaluation.metrics import Score
from ptb_lm.evaluation.mixture import best_weights
from ptb_lm.evaluation.neural_cache import LookUp, Memory
from ptb_lm.system.progress import Update

# Tokens at the beginning of the validation text that dynamic evaluation is tuned on.
# Every trial scores them.
DYNAMIC_TOKENS = 15_000
# Tokens that the cache is tuned on: they are scored once, and looked up in every trial.
CACHE_TOKENS = 30_000
# Most trials of each of the two.
MOST_TRIALS = 16
LEAST_WEIGHT = 1e-6  # of a cache
# By how much constants are changed: first coarsely, then finely.
FACTORS = (4.0, 2.0)

# Called with a line on a trial that is done.
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """Constants that were found.

    Attributes:
      constants: by the name of their option.
      score: of the text that they were found on, with them.
    """

    constants: dict[str, float]
    score: Score


def tune_dynamic(
    make: Callable[[float, float], Method],
    ids: np.ndarray,
    rate: float,
    decay: float,
    progress: Update = lambda done, total: None,
    say: Say = lambda line: None,
) -> Tuned:
    """Rate and decay of dynamic evaluation, each to a factor of two.

    Args:
      make: the method, of a rate and a decay.
      ids: the validation text, int32 [tokens]; only its beginning is read.
      rate: to begin with.
      decay: to begin with; a decay of zero stays zero.
      progress: called with the number of tokens scored, and of the most there may be.
      say: called with a line on each trial.

    Raises:
      UserError: the weights diverge in every trial.
    """
    text = ids[:DYNAMIC_TOKENS]
    tokens = len(text) - 1
    trials = _Trials(("dynamic_rate", "dynamic_decay"), tokens, say)

    def nats(place: Sequence[float]) -> float:
        before = trials.count * tokens
        try:
            return (
                Evaluator(make(*place))
                .exact(
                    text, lambda done, _: progress(before + done, MOST_TRIALS * tokens)
                )
                .nats
            )
        except UserError:
            return math.inf  # diverged

    tuned = trials.tuned(descend(trials.counted(nats), (rate, decay)))
    if math.isinf(tuned.score.nats):
        raise UserError(
            f"--tune: the weights diverge at the rate {rate:g} and near it; begin with"
            " a lower --dynamic_rate"
        )
    return tuned


def tune_cache(
    method: FeatureMethod,
    ids: np.ndarray,
    size: int,
    flatness: float,
    progress: Update = lambda done, total: None,
    say: Say = lambda line: None,
) -> Tuned:
    """Flatness of the cache, to a factor of two, and the best weight with it.

    The method scores the text once. What the softmax read is kept, 4 bytes a number, so
    that a trial costs a search in the cache alone.

    Args:
      method: what the cache is mixed with.
      ids: the validation text, int32 [tokens]; only its beginning is read.
      size: tokens in the cache.
      flatness: to begin with; zero stays zero.
      progress: called with the number of tokens that are scored, and of all.
      say: called with a line on each trial.
    """
    text = ids[:CACHE_TOKENS]
    windows = list(_windows(method, text, progress))
    model = np.exp(-np.concatenate([nats for nats, *_ in windows]).astype(np.float64))
    look_up, weights = LookUp(size), dict[float, float]()
    trials = _Trials(("cache_flatness",), len(model), say)

    def nats(place: Sequence[float]) -> float:
        memory = Memory(size)
        of_cache = np.concatenate(
            [
                look_up.nats(*memory.extended(features, targets), place[0]).numpy()[0]
                for _, features, targets in windows
            ]
        )
        has_one = ~np.isnan(of_cache)
        both = np.stack([model[has_one], np.exp(-of_cache[has_one])])
        shares = best_weights(both)
        weights[place[0]] = float(shares[1])
        return float(-np.log(shares @ both).sum() - np.log(model[~has_one]).sum())

    tuned = trials.tuned(descend(trials.counted(nats), (flatness,)))
    weight = weights[tuned.constants["cache_flatness"]]
    if weight < LEAST_WEIGHT:  # where the cache does not help, it tends to zero
        weight = 0.0
    return Tuned({"cache_weight": weight, **tuned.constants}, tuned.score)


def descend(
    nats: Callable[[tuple[float, ...]], float], start: tuple[float, ...]
) -> tuple[float, ...]:
    """A place where no constant is better when it is multiplied by a factor.

    One constant after the other is multiplied or divided by the factor as long as that
    helps, until none can be; so no grid ends before the best place. The factors of
    FACTORS follow each other.

    Args:
      nats: to be as low as possible.
      start: where to begin; a constant of zero stays zero.
    """
    best = start
    for factor in FACTORS:
        before = None
        while best != before:
            before = best
            for axis in range(len(best)):
                for step in (factor, 1 / factor):
                    while nats(best) > nats(moved := _scaled(best, axis, step)):
                        best = moved
    return best


def _scaled(place: tuple[float, ...], axis: int, factor: float) -> tuple[float, ...]:
    """A place with one coordinate multiplied."""
    return (*place[:axis], place[axis] * factor, *place[axis + 1 :])


class _Trials:
    """What was tried, and what came of it."""

    def __init__(self, names: Sequence[str], tokens: int, say: Say):
        """Takes the constants' names, the tokens of the text, and where lines go."""
        self._names, self._tokens, self._say = names, tokens, say
        self._tried: dict[tuple[float, ...], float] = {}

    @property
    def count(self) -> int:
        """How many trials there were."""
        return len(self._tried)

    def counted(
        self, nats: Callable[[tuple[float, ...]], float]
    ) -> Callable[[tuple[float, ...]], float]:
        """The same function: called once for each place, MOST_TRIALS times at most."""

        def called(place: tuple[float, ...]) -> float:
            if place not in self._tried:
                if self.count == MOST_TRIALS:
                    return math.inf
                found = self._tried[place] = nats(place)
                score = Score(found, self._tokens)
                self._say(
                    f"trial {self.count} of at most {MOST_TRIALS}:"
                    f" {self._names_and(place)}: perplexity {score.perplexity:.3f}"
                )
            return self._tried[place]

        return called

    def tuned(self, place: tuple[float, ...]) -> Tuned:
        """What was found at a place that was tried."""
        constants = dict(zip(self._names, place, strict=True))
        return Tuned(constants, Score(self._tried[place], self._tokens))

    def _names_and(self, place: tuple[float, ...]) -> str:
        """The constants of a place in words."""
        pairs = zip(self._names, place, strict=True)
        return ", ".join(f"{name} {value:.4g}" for name, value in pairs)


def _windows(
    method: FeatureMethod, ids: np.ndarray, progress: Update
) -> Iterator[tuple[np.ndarray, tf.Tensor, tf.Tensor]]:
    """Nats [time], features [1, time, width] and targets [1, time], by window."""
    last = len(ids) - 1
    method.begin(1)
    try:
        for begin in range(0, last, CHUNK_TOKENS):
            window = tf.constant(ids[None, begin : begin + CHUNK_TOKENS + 1])
            inputs, targets = window[:, :-1], window[:, 1:]
            nats, features = method.score_with_features(inputs, targets)
            yield nats.numpy()[0], features, targets
            progress(min(begin + CHUNK_TOKENS, last), last)
    finally:
        method.end()
