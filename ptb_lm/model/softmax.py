"""The last part of a language model: a probability of every token.

`full` is one softmax over the vocabulary. `adaptive` (Grave et al. 2017,
arXiv 1609.04309, section 4) is a tree of two levels, for large vocabularies.
"""

import abc
import itertools
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.model.initializers import make_initializer
from ptb_lm.model.losses import token_nats
from ptb_lm.model.precision import cast, matmul
from ptb_lm.options import parse_cutoffs
from ptb_lm.registry import SOFTMAXES

# (name, initializer, shape) -> a weight of the model.
MakeWeight: TypeAlias = Callable[
    [str, keras.Initializer, tuple[int, ...]], keras.Variable
]


class Softmax(abc.ABC):
    """Gives the probabilities of the tokens. The members of `SOFTMAXES` are classes.

    The class itself tells what a softmax of some options takes, so that this is known
    before a model is made.

    Attributes:
      options: names of the options of `ModelConfig` that this softmax reads and others
        may not.
      may_be_tied: whether the embedding can be its matrix.
    """

    options: ClassVar[tuple[str, ...]] = ()
    may_be_tied: ClassVar[bool] = False

    def __init__(self, options: ModelConfig, matmul_dtype: str | None):
        """Takes the options of the model, and the type of its matrix products.

        Args:
          options: of the model.
          matmul_dtype: type that matrices are multiplied in; None: their own.
        """
        self._options = options
        self._matmul_dtype = matmul_dtype
        self._weights: dict[str, keras.Variable] = {}

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
        return self._options.last_units

    def named_variables(self) -> dict[str, tf.Variable]:
        """The weights, by the names that checkpoints use."""
        return {name: weight.value for name, weight in self._weights.items()}

    def features(self, outputs: tf.Tensor) -> tf.Tensor:
        """What the softmax reads: [time, batch, units] -> [time, batch, width]."""
        return outputs

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


class FullSoftmax(Softmax):
    """softmax(x W + b): one product with a matrix as wide as the vocabulary.

    W is [units, vocabulary], or the transposed embedding where weights are tied (Press
    and Wolf 2017). If the last layer is then not as wide as the embedding, a projection
    P stands between the two, softmax(x P E^T + b).
    """

    may_be_tied: ClassVar[bool] = True

    @classmethod
    def parameters(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.parameters`."""
        width, last = options.embedding_width, options.last_units
        matrix = last * (width * options.projects if options.tied else vocab_size)
        return matrix + vocab_size

    @classmethod
    def multiply_adds(cls, options: ModelConfig, vocab_size: int) -> float:
        """As `Softmax.multiply_adds`."""
        width, last = options.embedding_width, options.last_units
        return width * (last + vocab_size) if options.projects else last * vocab_size

    @classmethod
    def kept_floats(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.kept_floats`."""
        return vocab_size

    def create(
        self, embedding: keras.Variable, make_weight: MakeWeight, seeds: Seeds
    ) -> None:
        """As `Softmax.create`."""
        options = self._options
        last, (vocab_size, width) = options.last_units, embedding.shape
        bias = self._bias_initializer(seeds.next())
        self._bias = make_weight("softmax_bias", bias, (vocab_size,))
        initializer = self._matrix_initializer(seeds.next())
        self._matrix, self._projection = embedding, None
        if not options.tied:
            shape = last, vocab_size
            self._matrix = make_weight("softmax_kernel", initializer, shape)
            self._weights["softmax_kernel"] = self._matrix
        elif options.projects:
            shape = last, width
            self._projection = make_weight("projection", initializer, shape)
            self._weights["projection"] = self._projection
        self._weights["softmax_bias"] = self._bias

    @property
    def width(self) -> int:
        """As `Softmax.width`."""
        tied = self._options.tied
        return self._options.embedding_width if tied else self._options.last_units

    def features(self, outputs: tf.Tensor) -> tf.Tensor:
        """As `Softmax.features`."""
        if self._projection is None:
            return outputs
        return _multiply(outputs, cast(self._projection.value, self._matmul_dtype))

    def set_unigram_bias(self, shares: np.ndarray) -> None:
        """As `Softmax.set_unigram_bias`: b_i = log p_i."""
        self._bias.assign(np.log(shares))

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """As `Softmax.logits`."""
        tied = self._options.tied
        scores = tf.matmul(features, self._matrix.value, transpose_b=tied)
        return tf.nn.bias_add(scores, self._bias.value)

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """As `Softmax.token_nats`."""
        return token_nats(
            features,
            self._matrix.value,
            self._bias.value,
            targets,
            tied=self._options.tied,
            matmul_dtype=self._matmul_dtype,
        )


class AdaptiveSoftmax(Softmax):
    """A softmax over frequent tokens and clusters of rarer ones (Grave et al. 2017).

    The vocabulary is sorted by frequency. The head is a softmax over the tokens before
    the first cutoff and over the clusters between the cutoffs; each cluster has a
    softmax over its own tokens, of features that a projection makes narrower:

        p(w) = head(w)                            of a frequent token
        p(w) = head(cluster i) softmax(x P_i W_i + b_i)(w)      of one in cluster i

    P_i has units / reduction^(i + 1) columns, i from 0, and at least one. A target
    takes the products of the head and of its own cluster alone, so that training takes
    a fraction of a full softmax's time. (PyTorch's AdaptiveLogSoftmaxWithLoss with
    `head_bias` is the same, but has no b_i.)
    """

    options: ClassVar[tuple[str, ...]] = ("softmax_cutoffs", "softmax_reduction")

    @classmethod
    def parameters(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.parameters`."""
        head, clusters = _clusters(options, vocab_size)
        last = options.last_units
        tails = sum(
            last * width + (width + 1) * (end - begin) for begin, end, width in clusters
        )
        return (last + 1) * head + tails

    @classmethod
    def multiply_adds(cls, options: ModelConfig, vocab_size: int) -> float:
        """As `Softmax.multiply_adds`: the mean, if p(w) is 1 / rank (Zipf's law)."""
        head, clusters = _clusters(options, vocab_size)
        ranks = 1.0 / np.arange(1, vocab_size + 1)
        shares = [ranks[begin:end].sum() / ranks.sum() for begin, end, _ in clusters]
        tails = sum(
            share * width * (options.last_units + end - begin)
            for share, (begin, end, width) in zip(shares, clusters, strict=True)
        )
        return options.last_units * head + float(tails)

    @classmethod
    def kept_floats(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.kept_floats`: the scores of the head."""
        return _clusters(options, vocab_size)[0]

    def create(
        self, embedding: keras.Variable, make_weight: MakeWeight, seeds: Seeds
    ) -> None:
        """As `Softmax.create`."""
        last, vocab_size = self._options.last_units, embedding.shape[0]
        head, self._clusters = _clusters(self._options, vocab_size)
        self._frequent = head - len(self._clusters)

        def bias(name: str, size: int) -> None:
            initializer = self._bias_initializer(seeds.next())
            self._weights[name] = make_weight(name, initializer, (size,))

        def matrix(name: str, *shape: int) -> None:
            initializer = self._matrix_initializer(seeds.next())
            self._weights[name] = make_weight(name, initializer, shape)

        bias("softmax_bias", head)
        matrix("softmax_kernel", last, head)
        for index, (begin, end, width) in enumerate(self._clusters):
            matrix(f"cluster_{index}_projection", last, width)
            matrix(f"cluster_{index}_kernel", width, end - begin)
            bias(f"cluster_{index}_bias", end - begin)

    def set_unigram_bias(self, shares: np.ndarray) -> None:
        """As `Softmax.set_unigram_bias`: logs of shares, of clusters their sums."""
        sums = [shares[begin:end].sum() for begin, end, _ in self._clusters]
        self._assign_log("softmax_bias", np.append(shares[: self._frequent], sums))
        for index, (begin, end, _) in enumerate(self._clusters):
            self._assign_log(f"cluster_{index}_bias", shares[begin:end])

    def _assign_log(self, name: str, shares: np.ndarray) -> None:
        """Sets a bias to logarithms."""
        self._weights[name].assign(np.log(shares))

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """As `Softmax.logits`; they are normalized."""
        weights = self.named_variables()
        head = tf.nn.log_softmax(
            tf.matmul(features, weights["softmax_kernel"]) + weights["softmax_bias"]
        )
        parts = [head[:, : self._frequent]]
        for index in range(len(self._clusters)):
            reduced = tf.matmul(features, weights[f"cluster_{index}_projection"])
            tail = tf.matmul(reduced, weights[f"cluster_{index}_kernel"])
            tail = tf.nn.log_softmax(tail + weights[f"cluster_{index}_bias"])
            place = self._frequent + index
            parts.append(tail + head[:, place : place + 1])
        return tf.concat(parts, axis=1)

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """As `Softmax.token_nats`; each cluster reads the rows of its own targets."""
        weights, dtype = self.named_variables(), self._matmul_dtype
        in_head, rows_of = targets, []
        for index, (begin, end, _) in enumerate(self._clusters):
            is_inside = (targets >= begin) & (targets < end)
            in_head = tf.where(is_inside, self._frequent + index, in_head)
            rows_of.append(tf.where(is_inside))  # [count, 1]
        nats = token_nats(
            features,
            weights["softmax_kernel"],
            weights["softmax_bias"],
            in_head,
            matmul_dtype=dtype,
        )
        for index, rows in enumerate(rows_of):
            projection = cast(weights[f"cluster_{index}_projection"], dtype)
            tail = token_nats(
                matmul(tf.gather_nd(features, rows), projection),
                weights[f"cluster_{index}_kernel"],
                weights[f"cluster_{index}_bias"],
                tf.gather_nd(targets, rows) - self._clusters[index][0],
                matmul_dtype=dtype,
            )
            nats = tf.tensor_scatter_nd_add(nats, rows, tail)
        return nats


def softmax_of(options: ModelConfig) -> type[Softmax]:
    """The class of a model's softmax."""
    return SOFTMAXES[options.softmax]


def _clusters(
    options: ModelConfig, vocab_size: int
) -> tuple[int, list[tuple[int, int, int]]]:
    """Size of the head; of each cluster its first token, its end and its width.

    Cutoffs that are not inside the vocabulary are left out; with none of them inside,
    the head has every token, and there is no cluster.
    """
    cutoffs = [c for c in parse_cutoffs(options.softmax_cutoffs) if c < vocab_size]
    width = options.last_units
    clusters = []
    for begin, end in itertools.pairwise([*cutoffs, vocab_size]):
        width = max(width // options.softmax_reduction, 1)
        clusters.append((begin, end, width))
    frequent = cutoffs[0] if cutoffs else vocab_size
    return frequent + len(clusters), clusters


def _multiply(sequence: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """[time, batch, rows] times [rows, columns] -> [time, batch, columns]."""
    time, batch, _ = tf.unstack(tf.shape(sequence))
    rows, columns = matrix.shape
    product = matmul(tf.reshape(sequence, [-1, rows]), matrix)
    return tf.reshape(product, [time, batch, columns])
