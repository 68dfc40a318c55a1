"""Dynamic evaluation: the weights go on learning from the text that is scored.

After each segment of a text, once it is scored, with g the gradient of its mean loss
and w0 the trained weights:

    sgd   w += l (w0 - w) - eta g
    rms   w += l r (w0 - w) - eta g / (RMS + epsilon),   r = min(RMS / mean(RMS), 1 / l)

(Krause, Kahembwe, Murray and Renals 2017, "Dynamic Evaluation of Neural Sequence
Models", sections 3 and 4.) RMS is the root mean square of the gradient of each weight
over the training text, see `gradient_statistics`; its mean is over all weights.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.evaluation.method import Scorable
from ptb_lm.evaluation.plain import score_window

# A token that is so improbable was scored by weights that have lost all sense.
DIVERGED_NATS = 1e4


@dataclasses.dataclass(frozen=True)
class DynamicConstants:
    """How fast the weights follow the text.

    Attributes:
      rate: eta.
      decay: l, the share of the way back to w0.
      epsilon: of the rule rms.
      steps: tokens of a text in a segment.
    """

    rate: float
    decay: float
    epsilon: float
    steps: int


class Dynamic:
    """Scores each token with weights that have learned from the tokens before it.

    A segment that a window cuts short is scored again with its rest, so that the cut
    changes nothing.
    """

    def __init__(
        self,
        model: Scorable,
        constants: DynamicConstants,
        rms: dict[str, np.ndarray] | None = None,
    ):
        """Keeps the weights, and compiles the scoring of a segment.

        Args:
          model: with the trained weights.
          constants: of the rule.
          rms: root mean square of each weight's gradient, by name; None: the rule sgd.

        Raises:
          UserError: the model's weights are not known.
        """
        self._model = model
        self._weights = model.named_variables()
        if not self._weights:
            raise UserError(
                "--dynamic: an export does not tell its weights; name a run folder"
            )
        self._constants = constants
        self._trained = {n: tf.identity(w) for n, w in self._weights.items()}
        self._rules = _rules(self._weights, constants, rms)
        self._learn = tf.function(
            self._learn_eagerly, autograph=False, reduce_retracing=True
        )
        self._look = tf.function(
            self._look_eagerly, autograph=False, reduce_retracing=True
        )
        self._state: Any = None
        self._begun: list[tf.Tensor] = []  # inputs and targets of a segment cut short

    def begin(self, batch_size: int) -> None:
        """Starts new texts with the trained weights, see `Method`."""
        self._state = self._model.initial_state(batch_size)
        self._begun = [tf.zeros([batch_size, 0], tf.int32)] * 2

    def end(self) -> None:
        """Puts the trained weights back, see `Method`."""
        for name, weight in self._weights.items():
            weight.assign(self._trained[name])

    def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Scores the next window, see `Method`."""
        nats, _ = self.score_with_features(inputs, targets)
        return nats

    def score_with_features(
        self, inputs: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores the next window, see `FeatureMethod`.

        Raises:
          UserError: the weights have diverged.
        """
        before, window = self._begun, [inputs, targets]
        inputs, targets = (
            tf.concat(both, axis=1) for both in zip(before, window, strict=True)
        )
        length, steps = inputs.shape[1], self._constants.steps
        whole = length - length % steps
        parts = []
        for begin in range(0, whole, steps):
            end = begin + steps
            *scored, self._state = self._learn(
                inputs[:, begin:end], targets[:, begin:end], self._state
            )
            parts.append(scored)
        self._begun = [inputs[:, whole:], targets[:, whole:]]
        if whole < length:
            parts.append(self._look(*self._begun, self._state))
        known = before[0].shape[1]
        nats, features = (
            tf.concat(part, axis=1)[:, known:] for part in zip(*parts, strict=True)
        )
        if not (nats.numpy() < DIVERGED_NATS).all():
            raise UserError(
                f"--dynamic: the weights diverge at the rate {self._constants.rate:g};"
                " give a lower --dynamic_rate"
            )
        return nats, features

    def _look_eagerly(
        self, inputs: tf.Tensor, targets: tf.Tensor, state: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Nats [batch, time] and features of the beginning of a segment."""
        nats, features, _ = score_window(
            self._model, inputs, targets, state, with_gradient=False
        )
        return nats, features

    def _learn_eagerly(
        self, inputs: tf.Tensor, targets: tf.Tensor, state: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Nats and features of a whole segment, and the state after it; then learns."""
        nats, features, state, gradients = segment_gradients(
            self._model, self._weights, inputs, targets, state
        )
        # The scores are read before the weights change, the states at once after.
        with tf.control_dependencies([nats, *tf.nest.flatten(state)]):
            for name, gradient in gradients.items():
                pull, push = self._rules[name]
                weight = self._weights[name]
                back = pull * (self._trained[name] - weight)
                weight.assign_add(back - push * gradient)
        return nats, features, state


def segment_gradients(
    model: Scorable,
    weights: dict[str, tf.Variable],
    inputs: tf.Tensor,
    targets: tf.Tensor,
    state: Any,
) -> tuple[tf.Tensor, tf.Tensor, Any, dict[str, tf.Tensor]]:
    """Scores a segment, and takes the gradient of its mean loss in nats.

    Args:
      model: any whose weights are known.
      weights: by name.
      inputs: int32 [batch, time].
      targets: int32 [batch, time].
      state: before the segment; no gradient flows into it.

    Returns:
      What `plain.score_window` returns, and the gradients by name.
    """
    with tf.GradientTape() as tape:
        nats, features, state = score_window(
            model, inputs, targets, state, with_gradient=True
        )
        loss = tf.reduce_mean(nats)
    found = tape.gradient(loss, list(weights.values()))
    gradients = dict(zip(weights, map(tf.convert_to_tensor, found), strict=True))
    return nats, features, state, gradients


def _rules(
    weights: dict[str, tf.Variable],
    constants: DynamicConstants,
    rms: dict[str, np.ndarray] | None,
) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """Of each weight, what the way back and the gradient are multiplied by."""
    rate, decay = constants.rate, constants.decay
    if rms is None:
        return {name: (tf.constant(decay), tf.constant(rate)) for name in weights}
    count = sum(values.size for values in rms.values())
    mean = sum(values.sum(dtype=np.float64) for values in rms.values()) / count
    return {
        name: (
            tf.constant(np.minimum(decay * rms[name] / mean, 1.0), tf.float32),
            tf.constant(rate / (rms[name] + constants.epsilon), tf.float32),
        )
        for name in weights
    }
