"""The last part of a language model: a probability of every token.

`full_softmax.py` and `adaptive_softmax.py` have the members of `SOFTMAXES`.
"""

import abc
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.model.dropout import SeedAndStep
from ptb_lm.model.initializers import make_initializer
from ptb_lm.model.precision import cast, matmul
from ptb_lm.registry import SOFTMAXES

# (name, initializer, shape) -> a weight of the model.
MakeWeight: TypeAlias = Callable[
    [str, keras.Initializer, tuple[int, ...]], keras.Variable
]


class Softmax(abc.ABC):
    """Gives the probabilities of the tokens. The members of `SOFTMAXES` are classes.

    A subclass of a member has the member's weights, so that a network may start from
    one with the other.

    The class itself tells what a softmax of some options takes, so that this is known
    before a model is made.

    Where weights are tied, the rows of the embedding are its weights (Press and Wolf
    2017). If the last layer is then not as wide as the embedding, a projection stands
    between the two.

    Attributes:
      options: names of the options of `ModelConfig` that this softmax reads and others
        may not.
    """

    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: ModelConfig, matmul_dtype: str | None):
        """Takes the options of the model, and the type of its matrix products.

        Args:
          options: of the model.
          matmul_dtype: type that matrices are multiplied in; None: their own.
        """
        self._options = options
        self._matmul_dtype = matmul_dtype
        self._weights: dict[str, keras.Variable] = {}
        self._projection: keras.Variable | None = None

    @classmethod
    @abc.abstractmethod
    def parameters(cls, options: ModelConfig, vocab_size: int) -> int:
        """Number of parameters, without those of an embedding that is tied to it."""

    @classmethod
    @abc.abstractmethod
    def multiply_adds(cls, options: ModelConfig, vocab_size: int) -> float:
        """Multiply-adds of the matrix products: per token, forward."""

    @classmethod
    @abc.abstractmethod
    def kept_floats(cls, options: ModelConfig, vocab_size: int) -> int:
        """Least number of floats per token that the loss keeps for the gradient."""

    @abc.abstractmethod
    def create(
        self,
        embedding: keras.Variable,
        make_weight: MakeWeight,
        seeds: "Seeds",
    ) -> None:
        """Creates the weights.

        Args:
          embedding: of the model, [vocabulary, width].
          make_weight: makes a variable of the model.
          seeds: gives every weight one.
        """

    @property
    def width(self) -> int:
        """Width of the features."""
        return self._options.softmax_width

    def named_variables(self) -> dict[str, tf.Variable]:
        """The weights, by the names that checkpoints use."""
        return {name: weight.value for name, weight in self._weights.items()}

    def features(self, outputs: tf.Tensor) -> tf.Tensor:
        """What the softmax reads: [time, batch, units] -> [time, batch, width]."""
        if self._projection is None:
            return outputs
        time, batch, _ = tf.unstack(tf.shape(outputs))
        rows = tf.reshape(outputs, [-1, self._options.last_units])
        product = matmul(rows, cast(self._projection.value, self._matmul_dtype))
        return tf.reshape(product, [time, batch, self.width])

    @abc.abstractmethod
    def set_unigram_bias(self, shares: np.ndarray) -> None:
        """Makes the softmax without its matrices the distribution of the unigrams.

        Args:
          shares: of every token in the training text, above 0, [vocabulary].
        """

    @abc.abstractmethod
    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Unnormalized log-probabilities: [n, width] -> [n, vocabulary]."""

    @abc.abstractmethod
    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """-log p(target) in nats: [n, width], int32 [n] -> float32 [n]."""

    def training_nats(
        self, features: tf.Tensor, targets: tf.Tensor, seed: SeedAndStep
    ) -> tf.Tensor:
        """The loss of training: `token_nats`, or an estimate that costs less.

        Args:
          features: [n, width].
          targets: int32 [n].
          seed: what is random depends on this alone.

        Returns:
          Nats, float32 [n].
        """
        return self.token_nats(features, targets)

    def _create_projection(
        self, make_weight: MakeWeight, initializer: keras.Initializer
    ) -> None:
        """Creates the projection before the embedding's rows, where there is one."""
        if self._options.projects:
            shape = self._options.last_units, self.width
            self._projection = make_weight("projection", initializer, shape)
            self._weights["projection"] = self._projection

    def _bias_initializer(self, seed: int) -> keras.Initializer:
        """Of a bias; that of the unigrams is set later, and starts at zero."""
        if self._options.softmax_bias_init != "uniform":
            return keras.initializers.Zeros()
        return make_initializer("", self._options.init_scale, seed)

    def _matrix_initializer(self, seed: int) -> keras.Initializer:
        """Of a matrix."""
        return make_initializer(
            self._options.softmax_init, self._options.init_scale, seed
        )


class Seeds:
    """Seeds of weights, one after the other, from the seed of the model."""

    def __init__(self, seed: int):
        """Begins with the first."""
        self._sequence = np.random.SeedSequence(seed)
        self._given = 0

    def next(self) -> int:
        """The next one."""
        self._given += 1
        # The first numbers of a longer state are those of a shorter one.
        return int(self._sequence.generate_state(self._given)[-1])


def projection_size(options: ModelConfig) -> int:
    """Number of weights of the projection before the embedding's rows."""
    return options.projects * options.last_units * options.softmax_width


def have_same_weights(one: type[Softmax], other: type[Softmax]) -> bool:
    """Whether a network with one softmax may start from a network with the other."""
    return issubclass(one, other) or issubclass(other, one)


def softmax_of(options: ModelConfig) -> type[Softmax]:
    """The class of a model's softmax."""
    return SOFTMAXES[options.softmax]
