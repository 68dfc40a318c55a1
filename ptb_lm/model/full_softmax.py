"""A softmax over the vocabulary, and the same that learns from samples of it."""

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.model.dropout import SeedAndStep
from ptb_lm.model.losses import sampled_nats, token_nats
from ptb_lm.model.softmax import MakeWeight, Seeds, Softmax, projection_size


class FullSoftmax(Softmax):
    """softmax(x W + b): one product with a matrix as wide as the vocabulary.

    W is [units, vocabulary], or the transposed embedding where weights are tied; behind
    a projection P, softmax(x P E^T + b).
    """

    @classmethod
    def parameters(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.parameters`."""
        matrix = 0 if options.tied else options.softmax_width * vocab_size
        return projection_size(options) + matrix + vocab_size

    @classmethod
    def multiply_adds(cls, options: ModelConfig, vocab_size: int) -> float:
        """As `Softmax.multiply_adds`."""
        return projection_size(options) + options.softmax_width * vocab_size

    @classmethod
    def kept_floats(cls, options: ModelConfig, vocab_size: int) -> int:
        """As `Softmax.kept_floats`."""
        return vocab_size

    def create(
        self, embedding: keras.Variable, make_weight: MakeWeight, seeds: Seeds
    ) -> None:
        """As `Softmax.create`."""
        vocab_size = embedding.shape[0]
        bias = self._bias_initializer(seeds.next())
        self._bias = make_weight("softmax_bias", bias, (vocab_size,))
        initializer = self._matrix_initializer(seeds.next())
        if self._options.tied:
            self._matrix = embedding
            self._create_projection(make_weight, initializer)
        else:
            shape = self.width, vocab_size
            self._matrix = make_weight("softmax_kernel", initializer, shape)
            self._weights["softmax_kernel"] = self._matrix
        self._weights["softmax_bias"] = self._bias

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


class SampledSoftmax(FullSoftmax):
    """A full softmax that learns from samples (Jean et al. 2015, arXiv 1412.2007).

    In training, the softmax of a target is over the target and S samples, which a
    window's targets share. They are drawn anew for each step, with replacement, from
    Zipf's law of a vocabulary sorted by frequency:

        Q(w) = log((w + 2) / (w + 1)) / log(V + 1),  w = 0, ..., V - 1

    See `losses.sampled_nats`. Whatever is not training has the full softmax.
    """

    options: ClassVar[tuple[str, ...]] = ("softmax_samples",)

    @classmethod
    def multiply_adds(cls, options: ModelConfig, vocab_size: int) -> float:
        """As `Softmax.multiply_adds`: those of the target and the samples."""
        return super().multiply_adds(options, 1 + options.softmax_samples)

    def training_nats(
        self, features: tf.Tensor, targets: tf.Tensor, seed: SeedAndStep
    ) -> tf.Tensor:
        """As `Softmax.training_nats`: a sampled loss."""
        count, vocab_size = self._options.softmax_samples, self._bias.shape[0]
        # The seeds of dropout do not reach so far.
        pair = tf.stack([seed.seed, seed.step + 2**62])
        # A float32 has too few values to reach every token of a large vocabulary.
        draws = tf.random.stateless_uniform([count], pair, dtype=tf.float64)
        scale = np.log(vocab_size + 1)
        samples = tf.cast(tf.exp(draws * scale), targets.dtype) - 1
        samples = tf.minimum(samples, vocab_size - 1)  # exp is rounded

        def log_expected(ids: tf.Tensor) -> tf.Tensor:
            """Log of how often a token is expected among the samples."""
            share = tf.math.log1p(1 / (tf.cast(ids, tf.float32) + 1))
            return tf.math.log(share * (count / scale))

        return sampled_nats(
            features,
            self._matrix.value,
            self._bias.value,
            targets,
            samples,
            log_expected,
            tied=self._options.tied,
            matmul_dtype=self._matmul_dtype,
        )
