"""Dynamic evaluation: the weights go on learning from the text that is scored.

After each segment of a text, once it is scored, a rule changes the weights, see
`learning` (Krause, Kahembwe, Murray and Renals 2017).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.evaluation.learning import DynamicConstants, Rule, segment_gradients
from ptb_lm.evaluation.method import Scorable
from ptb_lm.evaluation.plain import score_window

# A token that is so improbable was scored by weights that have lost all sense.
DIVERGED_NATS = 1e4


class Dynamic:
    """Scores each token with weights that have learned from the tokens before it.

    One graph scores all whole segments of a window and learns from each. A segment
    that a window cuts short is scored again with its rest, so that the cut changes
    nothing.

    Attributes:
      constants: of the rule. Others may be set between two texts: nothing is compiled
        anew.
      state, state_rounding: see `FeatureMethod`.
    """

    def __init__(
        self,
        model: Scorable,
        constants: DynamicConstants,
        steps: int,
        rms: dict[str, np.ndarray] | None = None,
    ):
        """Keeps the weights.

        Args:
          model: with the trained weights.
          constants: of the rule.
          steps: tokens of a text in a segment.
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
        self.constants, self._steps = constants, steps
        self._rule = Rule(self._weights, rms)
        self._learn_compiled = tf.function(self._learn_eagerly, autograph=False)
        self._learn: Any = None  # the same, for as many texts as are read
        self._look = tf.function(self._look_eagerly, autograph=False)
        self.state: Any = None
        self.state_rounding: float | None = None  # the weights depend on the text too
        self._begun: list[tf.Tensor] = []  # inputs and targets of a segment cut short

    def begin(self, batch_size: int) -> None:
        """Starts new texts with the trained weights, see `Method`."""
        self.state = self._model.initial_state(batch_size)
        self._begun = [tf.zeros([batch_size, 0], tf.int32)] * 2
        tokens, number = tf.TensorSpec([batch_size, None], tf.int32), tf.TensorSpec([])
        self._learn = self._learn_compiled.get_concrete_function(
            tokens,
            tokens,
            tf.nest.map_structure(tf.TensorSpec.from_tensor, self.state),
            DynamicConstants(number, number, number),
        )

    def end(self) -> None:
        """Puts the trained weights back, see `Method`."""
        self._rule.restore()

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
        texts = [tf.concat(both, axis=1) for both in zip(before, window, strict=True)]
        rest = texts[0].shape[1] % self._steps
        whole = texts[0].shape[1] - rest
        *scored, self.state = self._learn(
            *(text[:, :whole] for text in texts),
            self.state,
            DynamicConstants(*(tf.constant(c, tf.float32) for c in self.constants)),
        )
        parts, self._begun = [scored], [text[:, whole:] for text in texts]
        if rest:
            # What is after a token does not change its score, and one shape is traced.
            added = [[0, 0], [0, self._steps - rest]]
            looked = self._look(*(tf.pad(t, added) for t in self._begun), self.state)
            parts.append([part[:, :rest] for part in looked])
        known = before[0].shape[1]
        nats, features = (
            tf.concat(part, axis=1)[:, known:] for part in zip(*parts, strict=True)
        )
        if not (nats.numpy() < DIVERGED_NATS).all():
            raise UserError(
                f"--dynamic: the weights diverge at the rate {self.constants.rate:g};"
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
        self,
        inputs: tf.Tensor,
        targets: tf.Tensor,
        state: Any,
        constants: DynamicConstants,
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Nats and features of whole segments, and the state after the last."""
        batch, steps = inputs.shape[0], self._steps
        count = tf.shape(inputs)[1] // steps

        def body(
            index: tf.Tensor,
            state: Any,
            nats: tf.TensorArray,
            features: tf.TensorArray,
        ) -> tuple[tf.Tensor, Any, tf.TensorArray, tf.TensorArray]:
            begin = index * steps
            here, following = (
                tf.ensure_shape(text[:, begin : begin + steps], [batch, steps])
                for text in (inputs, targets)
            )
            scored = self._learn_segment(here, following, state, constants)
            segment_nats, read, after = scored
            after = tf.nest.map_structure(
                lambda new, old: tf.ensure_shape(new, old.shape), after, state
            )
            # Time comes first in an array of segments.
            nats = nats.write(index, tf.transpose(segment_nats))
            features = features.write(index, tf.transpose(read, [1, 0, 2]))
            return index + 1, after, nats, features

        arrays = [tf.TensorArray(tf.float32, count) for _ in range(2)]
        _, state, *arrays = tf.while_loop(
            lambda index, *_: index < count,
            body,
            (0, state, *arrays),
            parallel_iterations=1,
        )
        nats, features = (array.concat() for array in arrays)
        return tf.transpose(nats), tf.transpose(features, [1, 0, 2]), state

    def _learn_segment(
        self,
        inputs: tf.Tensor,
        targets: tf.Tensor,
        state: Any,
        constants: DynamicConstants,
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Nats and features of a segment, and the state after it; then learns."""
        nats, features, state, gradients = segment_gradients(
            self._model, self._weights, inputs, targets, state
        )
        # The scores are read before the weights change, the states at once after.
        with tf.control_dependencies([nats, *tf.nest.flatten(state)]):
            self._rule.learn(gradients, constants)
        return nats, features, state
