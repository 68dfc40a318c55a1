"""Finds the constants of dynamic evaluation and of the cache on a validation text."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import CHUNK_TOKENS, Evaluator
from ptb_lm.evaluation.method import FeatureMethod, Method
from ptb_lm.evaluation.metrics import Score
from ptb_lm.evaluation.mixture import best_weights
from ptb_lm.evaluation.neural_cache import Memory, cache_nats

# Tokens at the beginning of the validation text that dynamic evaluation is tuned on.
DYNAMIC_TOKENS = 15_000
# Most times that they are scored.
DYNAMIC_TRIALS = 16
FLATNESSES = tuple(0.01 * 2 ** (k / 2) for k in range(17))  # to 2.56


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:
    """Rate and decay of dynamic evaluation, each to a factor of two.

    Rate, then decay, are doubled or halved as long as that helps, until neither does.

    Args:
      make: the method, of a rate and a decay.
      ids: the validation text, int32 [tokens]; only its beginning is read.
      rate: to begin with.
      decay: to begin with; a decay of zero stays zero.
      progress: called with the number of trials done, and of the most there may be.
    """
    text = ids[:DYNAMIC_TOKENS]
    tried: dict[tuple[float, float], Score] = {}

    def nats(rate: float, decay: float) -> float:
        place = rate, decay
        if place not in tried:
            if len(tried) == DYNAMIC_TRIALS:
                return math.inf
            try:
                tried[place] = Evaluator(make(*place)).exact(text)
            except UserError:  # diverged
                tried[place] = Score(math.inf, len(text) - 1)
            progress(len(tried), DYNAMIC_TRIALS)
        return tried[place].nats

    best = rate, decay
    while True:
        before = best
        for axis in (0, 1):
            for factor in (2.0, 0.5):
                while nats(*(moved := _scaled(best, axis, factor))) < nats(*best):
                    best = moved
        if best == before:
            break
    return Tuned({"dynamic_rate": best[0], "dynamic_decay": best[1]}, tried[best])


def _scaled(
    place: tuple[float, float], axis: int, factor: float
) -> tuple[float, float]:
    """A place with one coordinate multiplied."""
    rate, decay = place
    return (rate * factor, decay) if axis == 0 else (rate, decay * factor)


def tune_cache(
    method: FeatureMethod,
    ids: np.ndarray,
    size: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:
    """Flatness of the cache, of a list, and the best weight with it.

    Args:
      method: what the cache is mixed with.
      ids: the validation text, int32 [tokens].
      size: tokens in the cache.
      progress: called with the number of tokens read, and of all.
    """
    said: list[np.ndarray] = []
    cached: list[list[np.ndarray]] = []
    look_up = tf.function(cache_nats, autograph=False, reduce_retracing=True)
    memory, last = Memory(size), len(ids) - 1
    method.begin(1)
    for begin in range(0, last, CHUNK_TOKENS):
        window = tf.constant(ids[None, begin : begin + CHUNK_TOKENS + 1])
        nats, features = method.score_with_features(window[:, :-1], window[:, 1:])
        held = memory.extended(features, window[:, 1:])
        said.append(nats.numpy()[0])
        cached.append(
            [look_up(*held, size, tf.constant(f)).numpy()[0] for f in FLATNESSES]
        )
        progress(min(begin + CHUNK_TOKENS, last), last)
    method.end()
    model = np.exp(-np.concatenate(said).astype(np.float64))
    found = []
    for nats_of_cache in np.concatenate(cached, axis=1).astype(np.float64):
        has_one = ~np.isnan(nats_of_cache)
        both = np.stack([model[has_one], np.exp(-nats_of_cache[has_one])])
        weights = best_weights(both)
        total = -np.log(weights @ both).sum() - np.log(model[~has_one]).sum()
        found.append((float(total), float(weights[1])))
    best = min(range(len(found)), key=found.__getitem__)
    total, weight = found[best]
    constants = {"cache_weight": weight, "cache_flatness": FLATNESSES[best]}
    return Tuned(constants, Score(total, last))
