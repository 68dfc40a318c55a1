"""Finds the constants of dynamic evaluation and of the cache on a validation text."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.method import FeatureMethod, Method
from ptb_lm.evaluation.metrics import Score
from ptb_lm.evaluation.neural_cache import cache_nats

# Tokens at the beginning of the validation text that dynamic evaluation is tuned on.
DYNAMIC_TOKENS = 15_000
# Most times that they are scored.
DYNAMIC_TRIALS = 16
FLATNESSES = tuple(0.01 * 2 ** (k / 2) for k in range(17))  # to 2.56
MIXTURE_ROUNDS = 30


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
    method.begin(1)
    held = tokens = None
    look_up = tf.function(cache_nats, autograph=False, reduce_retracing=True)
    for begin in range(0, len(ids) - 1, 1024):
        window = tf.constant(ids[None, begin : begin + 1025])
        nats, features = method.score_with_features(window[:, :-1], window[:, 1:])
        if held is None:
            held = tf.zeros([1, size, features.shape[2]])
            tokens = tf.fill([1, size], -1)
        features = tf.concat([held, features], axis=1)
        tokens = tf.concat([tokens, window[:, 1:]], axis=1)
        said.append(nats.numpy()[0])
        cached.append(
            [
                look_up(features, tokens, size, tf.constant(flatness)).numpy()[0]
                for flatness in FLATNESSES
            ]
        )
        held, tokens = features[:, -size:], tokens[:, -size:]
        progress(min(begin + 1024, len(ids) - 1), len(ids) - 1)
    model = np.exp(-np.concatenate(said).astype(np.float64))
    by_flatness = np.exp(-np.concatenate(cached, axis=1).astype(np.float64))
    found = [best_weight(model, cache) for cache in by_flatness]
    best = min(range(len(found)), key=lambda index: found[index][1])
    weight, nats_sum = found[best]
    return Tuned(
        {"cache_weight": weight, "cache_flatness": FLATNESSES[best]},
        Score(nats_sum, len(model)),
    )


def best_weight(p: np.ndarray, q: np.ndarray) -> tuple[float, float]:
    """The weight of q in a mixture with p that makes a text most probable.

    By the EM algorithm, whose every round raises the probability.

    Args:
      p: probabilities of the tokens, float64 [tokens].
      q: the same, by another model; NaN where it says nothing.

    Returns:
      The weight, and the text's nats with it.
    """
    said = ~np.isnan(q)
    weight = 0.1
    for _ in range(MIXTURE_ROUNDS):
        part = weight * q[said]
        weight = float(np.mean(part / ((1 - weight) * p[said] + part)))
    mixed = np.where(said, (1 - weight) * p + weight * np.nan_to_num(q), p)
    return weight, float(-np.log(mixed).sum())
