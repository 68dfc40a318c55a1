"""A tree of two levels (Grave et al. 2017, arXiv 1609.04309, section 4)."""

import itertools
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.model.losses import token_nats
from ptb_lm.model.precision import cast, matmul
from ptb_lm.model.softmax import MakeWeight, Seeds, Softmax
from ptb_lm.options import parse_cutoffs


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
