"""Mixtures of methods: ensembles of runs, and a network with n-grams.

    linear: p = sum_i w_i p_i        log: p ~ product_i p_i^w_i

(Zaremba et al. 2014, table 1, averages the probabilities of networks; Mikolov et al.
2011 mix networks and n-grams linearly. A log-linear mixture is a geometric mean.)
"""

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import tensorflow as tf

from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.method import DistributionMethod, Method
from ptb_lm.evaluation.metrics import Score
from ptb_lm.evaluation.ngrams import NGrams

ROUNDS = 100  # of the EM algorithm
Member = TypeVar("Member", bound=Method)


class NGramMethod:
    """Scores texts with an n-gram model."""

    def __init__(self, model: NGrams):
        """Takes the model."""
        self._model = model
        self._before: np.ndarray = np.zeros([0, 0], np.int32)

    def begin(self, batch_size: int) -> None:
        """Starts new texts, of which nothing is known, see `Method`."""
        self._before = np.zeros([batch_size, 0], np.int32)

    def end(self) -> None:
        """Does nothing: an n-gram model does not change."""

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window, see `Method`."""
        texts = np.concatenate([self._before, inputs, targets[:, -1:]], axis=1)
        time, order = inputs.shape[1], self._model.order
        logs = [self._model.log_probs(text)[-time:] for text in texts]
        # The last target is the next window's first input.
        self._before = texts[:, :-1][:, max(texts.shape[1] - order, 0) :]
        return tf.constant(-np.stack(logs), tf.float32)


class _Mixture(Generic[Member]):
    """Reads texts with several methods, one beside the other."""

    def __init__(self, methods: Sequence[Member], weights: Sequence[float]):
        """Takes the methods and the weight of each; the weights sum to 1.

        A method of weight 0 is not read.
        """
        used = zip(methods, weights, strict=True)
        self._members = [(method, weight) for method, weight in used if weight > 0]

    def begin(self, batch_size: int) -> None:
        """Starts new texts with every member, see `Method`."""
        for method, _ in self._members:
            method.begin(batch_size)

    def end(self) -> None:
        """Ends the texts of every member, see `Method`."""
        for method, _ in self._members:
            method.end()


class LinearMixture(_Mixture[Method]):
    """Averages the probabilities of methods."""

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window, see `Method`; a lone member gives its very bits."""
        if len(self._members) == 1:
            return self._members[0][0].score(inputs, targets)
        logs = [
            math.log(weight) - method.score(inputs, targets)
            for method, weight in self._members
        ]
        return -tf.reduce_logsumexp(logs, axis=0)


class LogMixture(_Mixture[DistributionMethod]):
    """Geometric mean of the distributions of methods, made to sum to one again."""

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window, see `Method`; holds two distributions at a time."""
        logs: tf.Tensor = 0.0
        for method, weight in self._members:
            logs += weight * method.log_distributions(inputs)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logs)


def tune_weights(
    methods: Sequence[Method], ids: np.ndarray
) -> tuple[list[float], Score]:
    """The weights of a linear mixture that make a text most probable.

    Args:
      methods: the members.
      ids: the validation text, int32 [tokens].

    Returns:
      A weight for each method, which sum to 1; and the text's score with them.
    """
    nats = [Evaluator(method).token_nats(ids) for method in methods]
    probabilities = np.exp(-np.stack(nats).astype(np.float64))
    weights = best_weights(probabilities)
    total = -np.log(weights @ probabilities).sum()
    return weights.tolist(), Score(float(total), probabilities.shape[1])


def best_weights(probabilities: np.ndarray) -> np.ndarray:
    """Weights of a mixture by the EM algorithm, whose rounds never do harm.

    Args:
      probabilities: of the tokens of a text by each member, float64 [members, tokens].

    Returns:
      Float64 [members].
    """
    weights = np.full(len(probabilities), 1 / len(probabilities))
    for _ in range(ROUNDS):
        parts = weights[:, None] * probabilities
        weights = (parts / parts.sum(axis=0)).mean(axis=1)
    return weights
