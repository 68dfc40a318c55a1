"""A tree of two levels (Grave et al. 2017, arXiv 1609.04309, section 4)."""

import functools
import itertools
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.model.losses import token_nats
from ptb_lm.model.precision import cast, matmul
from ptb_lm.model.softmax import MakeWeight, Seeds, Softmax, projection_size
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

    Where weights are tied, each token has its row of the embedding, in the head or in
    its cluster, and there is no P_i; the head has one more row for each cluster.
    """

    options: ClassVar[tuple[str, ...]] = ("softmax_cutoffs", "softmax_reduction")

    @classmethod
    def parameters(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.parameters`."""
        head, clusters = _clusters(options, vocab_size)
        biases = vocab_size + len(clusters)
        if options.tied:
            rows = len(clusters) * options.softmax_width
            return projection_size(options) + rows + biases
        last = options.last_units
        tails = sum(width * (last + end - begin) for begin, end, width in clusters)
        return last * head + tails + biases

    @classmethod
    def multiply_adds(cls, options: ModelConfig, vocab_size: int) -> float:
        """As `Softmax.multiply_adds`: the mean, if p(w) is 1 / rank (Zipf's law)."""
        head, clusters = _clusters(options, vocab_size)
        ranks = 1.0 / np.arange(1, vocab_size + 1)
        shares = [ranks[begin:end].sum() / ranks.sum() for begin, end, _ in clusters]
        read = 0 if options.tied else options.last_units  # by the cluster's projection
        tails = sum(
            share * width * (read + end - begin)
            for share, (begin, end, width) in zip(shares, clusters, strict=True)
        )
        return projection_size(options) + options.softmax_width * head + float(tails)

    @classmethod
    def kept_floats(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.kept_floats`: the scores of the head."""
        return _clusters(options, vocab_size)[0]

    def create(
        self, embedding: keras.Variable, make_weight: MakeWeight, seeds: Seeds
    ) -> None:
        """As `Softmax.create`."""
        options = self._options
        head, self._clusters = _clusters(options, embedding.shape[0])
        self._frequent = head - len(self._clusters)

        def bias(name: str, size: int) -> None:
            initializer = self._bias_initializer(seeds.next())
            self._weights[name] = make_weight(name, initializer, (size,))

        def matrix(name: str, *shape: int) -> None:
            initializer = self._matrix_initializer(seeds.next())
            self._weights[name] = make_weight(name, initializer, shape)

        bias("softmax_bias", head)
        if options.tied:
            self._embedding = embedding
            self._create_projection(make_weight, self._matrix_initializer(seeds.next()))
            if self._clusters:
                matrix("cluster_rows", len(self._clusters), self.width)
        else:
            matrix("softmax_kernel", self.width, head)
        for index, (begin, end, width) in enumerate(self._clusters):
            if not options.tied:
                matrix(f"cluster_{index}_projection", self.width, width)
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
        weights, (head, *tails) = self.named_variables(), self._scores(features)
        head = tf.nn.log_softmax(head + weights["softmax_bias"])
        parts = [head[:, : self._frequent]]
        for index, tail in enumerate(tails):
            tail = tf.nn.log_softmax(tail + weights[f"cluster_{index}_bias"])
            place = self._frequent + index
            parts.append(tail + head[:, place : place + 1])
        return tf.concat(parts, axis=1)

    def _scores(self, features: tf.Tensor) -> list[tf.Tensor]:
        """Products of the head and of each cluster with features [n, width]."""
        if self._options.tied:
            # One product with the embedding as it is, whose rows are not copied.
            products = tf.matmul(features, self._embedding.value, transpose_b=True)
            head, *tails = tf.split(products, self._sizes(), axis=1)
            if tails:
                rows = self.named_variables()["cluster_rows"]
                of_clusters = tf.matmul(features, rows, transpose_b=True)
                head = tf.concat([head, of_clusters], axis=1)
            return [head, *tails]
        head_kernel, kernels = self._matrices()
        tails = [
            tf.matmul(self._reduced(features, index), kernel)
            for index, kernel in enumerate(kernels)
        ]
        return [tf.matmul(features, head_kernel), *tails]

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """As `Softmax.token_nats`; each cluster reads the rows of its own targets."""
        weights, (head_matrix, matrices) = self.named_variables(), self._matrices()
        nats_of = functools.partial(
            token_nats, tied=self._options.tied, matmul_dtype=self._matmul_dtype
        )
        in_head, rows_of = targets, []
        for index, (begin, end, _) in enumerate(self._clusters):
            is_inside = (targets >= begin) & (targets < end)
            in_head = tf.where(is_inside, self._frequent + index, in_head)
            rows_of.append(tf.where(is_inside))  # [count, 1]
        nats = nats_of(features, head_matrix, weights["softmax_bias"], in_head)
        for index, (rows, matrix) in enumerate(zip(rows_of, matrices, strict=True)):
            inputs = tf.gather_nd(features, rows)
            tail = nats_of(
                self._reduced(inputs, index, self._matmul_dtype),
                matrix,
                weights[f"cluster_{index}_bias"],
                tf.gather_nd(targets, rows) - self._clusters[index][0],
            )
            nats = tf.tensor_scatter_nd_add(nats, rows, tail)
        return nats

    def _matrices(self) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """That of the head and those of the clusters; transposed where tied."""
        weights = self.named_variables()
        if not self._options.tied:
            numbers = range(len(self._clusters))
            kernels = [weights[f"cluster_{number}_kernel"] for number in numbers]
            return weights["softmax_kernel"], kernels
        if not self._clusters:
            return self._embedding.value, []
        frequent, *rows = tf.split(self._embedding.value, self._sizes())
        return tf.concat([frequent, weights["cluster_rows"]], axis=0), rows

    def _sizes(self) -> list[int]:
        """Number of the frequent tokens, and of the tokens of each cluster."""
        return [self._frequent, *(end - begin for begin, end, _ in self._clusters)]

    def _reduced(
        self, features: tf.Tensor, index: int, matmul_dtype: str | None = None
    ) -> tf.Tensor:
        """What the softmax of a cluster reads of features [n, width]."""
        if self._options.tied:
            return features
        projection = self.named_variables()[f"cluster_{index}_projection"]
        return matmul(features, cast(projection, matmul_dtype))


def _clusters(
    options: ModelConfig, vocab_size: int
) -> tuple[int, list[tuple[int, int, int]]]:
    """Size of the head; of each cluster its first token, its end and its width.

    Cutoffs that are not inside the vocabulary are left out; with none of them inside,
    the head has every token, and there is no cluster.
    """
    cutoffs = [c for c in parse_cutoffs(options.softmax_cutoffs) if c < vocab_size]
    width, clusters = options.softmax_width, []
    for begin, end in itertools.pairwise([*cutoffs, vocab_size]):
        if not options.tied:
            width = max(width // options.softmax_reduction, 1)
        clusters.append((begin, end, width))
    frequent = cutoffs[0] if cutoffs else vocab_size
    return frequent + len(clusters), clusters
