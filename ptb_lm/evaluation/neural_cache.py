"""The neural cache: recent words are likely again, where the network was alike.

    p(w) = (1 - l) p_model(w) + l p_cache(w)
    p_cache(w) ~ sum of exp(theta h_t . h_i) over the last N positions i with x_i+1 = w

(Grave, Joulin and Usunier 2016, "Improving Neural Language Models with a Continuous
Cache", equations 2 and 3.) h_t is what the softmax reads when it predicts x_t+1.
"""

import math
from typing import Any

import tensorflow as tf

from ptb_lm.evaluation.method import FeatureMethod
from ptb_lm.system.memory import check_fits

_NO_TOKEN = -1
_FLOAT_BYTES = 4

# Time steps that are looked up at once: fewer repeat more of the keys, more look at
# more positions that their caches do not hold.
_TILE = 256


class NeuralCache:
    """Mixes what another method says with a cache of the last tokens of each text.

    Until a text has a token in its cache, the other method speaks alone.
    """

    def __init__(
        self, method: FeatureMethod, size: int, weight: float, flatness: float
    ):
        """Takes what the cache is mixed with, and its constants.

        Args:
          method: scores the texts.
          size: N, tokens that the cache holds of each text.
          weight: l, of the cache in the mixture, in [0, 1).
          flatness: theta. 0: a unigram model of the last N tokens.
        """
        self._method = method
        self._size = size
        self._weight = weight
        self._flatness = flatness
        self._memory = Memory(size)
        self._look_up = LookUp(size)

    def begin(self, batch_size: int) -> None:
        """Starts new texts with empty caches, see `Method`."""
        self._method.begin(batch_size)
        self._memory = Memory(self._size)

    def end(self) -> None:
        """Ends the texts, see `Method`."""
        self._method.end()

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window, see `Method`."""
        return self.follow(self.read(inputs, targets))

    def read(self, inputs: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Nats, features and targets of the next window, see `StatefulMethod`."""
        return *self._method.score_with_features(inputs, targets), targets

    def follow(self, read: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Scores the next window, see `StatefulMethod`."""
        nats, features, targets = map(tf.convert_to_tensor, read)
        held = self._memory.extended(features, targets)
        return mix(nats, self._look_up.nats(*held, self._flatness), self._weight)

    @property
    def state(self) -> Any:
        """The other method's, see `FeatureMethod`."""
        return self._method.state

    @state.setter
    def state(self, state: Any) -> None:
        """Sets the other method's."""
        self._method.state = state

    @property
    def state_rounding(self) -> float | None:
        """The other method's, see `FeatureMethod`."""
        return self._method.state_rounding


class Memory:
    """The last positions of each text: what the softmax read, and what came next."""

    def __init__(self, size: int):
        """Starts with nothing; holds `size` positions of each text."""
        self._size = size
        self._held: tuple[tf.Tensor, tf.Tensor] | None = None

    def extended(
        self, features: tf.Tensor, tokens: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes a window in, and forgets what is too old.

        Args:
          features: float32 [batch, time, width].
          tokens: that follow, int32 [batch, time].

        Returns:
          What was held, and the window after it, [batch, size + time, ...]. Tokens are
          negative where nothing was held yet.

        Raises:
          UserError: so many positions do not fit in memory.
        """
        batch, time, width = features.shape
        if self._held is None:
            # What is held, and its copy with a window; a window's scores, and twice
            # what is made of them.
            floats = (self._size + time) * batch * (2 * width + 3 * time)
            check_fits(
                _FLOAT_BYTES * floats,
                f"a cache of {self._size:,} tokens",
                "try a smaller --cache_size",
            )
            self._held = (
                tf.zeros([batch, self._size, width]),
                tf.fill([batch, self._size], _NO_TOKEN),
            )
        window = features, tokens
        both = [
            tf.concat(parts, axis=1) for parts in zip(self._held, window, strict=True)
        ]
        all_features, all_tokens = both
        self._held = all_features[:, -self._size :], all_tokens[:, -self._size :]
        return all_features, all_tokens


class LookUp:
    """Finds the tokens of windows in the caches before them, with bounded memory."""

    def __init__(self, size: int):
        """Compiles the search in caches of `size` tokens."""
        self._size = size
        self._compiled = tf.function(cache_nats, autograph=False, reduce_retracing=True)

    def nats(
        self, features: tf.Tensor, tokens: tf.Tensor, flatness: float
    ) -> tf.Tensor:
        """-log p_cache of every token of a window, see `cache_nats`."""
        size, theta = self._size, tf.constant(flatness, tf.float32)
        tiles = []
        for begin in range(0, features.shape[1] - size, _TILE):
            tile = slice(begin, begin + size + _TILE)
            held = features[:, tile], tokens[:, tile]
            tiles.append(self._compiled(*held, size, theta))
        return tf.concat(tiles, axis=1)


def cache_nats(
    features: tf.Tensor, tokens: tf.Tensor, size: int, flatness: tf.Tensor
) -> tf.Tensor:
    """-log p_cache of every token of a window.

    The weights exp(theta h_t . h_i) of a time step are taken relative to the largest.
    Their sums are float32, the logarithms of the sums float64: a difference of two
    float32 logarithms would lose a digit.

    Args:
      features: h of the `size` positions before the window, and of the window's own,
        float32 [batch, size + time, width].
      tokens: the token that follows each of them, int32 [batch, size + time]; negative
        where there was none.
      size: N.
      flatness: theta, float32 scalar.

    Returns:
      Nats, float64 [batch, time]: inf where the token is not in the cache, NaN where
      nothing is.
    """
    present = features[:, size:]
    time = tf.shape(present)[1]
    scores = tf.matmul(flatness * present, features, transpose_b=True)
    # Of the window's step t the cache holds the positions t to t + size - 1.
    place = tf.range(size + time)[None] - tf.range(time)[:, None]
    is_held = (place >= 0) & (place < size) & (tokens[:, None] >= 0)
    scores = tf.where(is_held, scores, -math.inf)
    largest = tf.reduce_max(scores, axis=2, keepdims=True)
    # Where nothing is held, the largest is no number to subtract.
    weights = tf.exp(scores - tf.maximum(largest, scores.dtype.min))
    matches = tokens[:, None] == tokens[:, size:, None]
    sums = [
        tf.reduce_sum(part, axis=2)
        for part in (weights, tf.where(matches, weights, 0.0))
    ]
    of_all, of_token = (tf.math.log(tf.cast(total, tf.float64)) for total in sums)
    return of_all - of_token


def mix(nats: tf.Tensor, others: tf.Tensor, weight: float) -> tf.Tensor:
    """-log((1 - weight) p + weight q), from the nats of p and of q.

    Where q is NaN, it has nothing to say, and the result is that of p.

    Args:
      nats: of p, float32.
      others: of q, float64, of the same shape.
      weight: of q.

    Returns:
      Nats, float32.
    """
    first = math.log1p(-weight) - tf.cast(nats, tf.float64)
    logs = tf.stack([first, math.log(weight) - others])
    mixed = tf.cast(-tf.reduce_logsumexp(logs, axis=0), tf.float32)
    return tf.where(tf.math.is_nan(others), nats, mixed)
