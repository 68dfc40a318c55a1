"""The training step, and the compiled loop that takes many of them.

The weights after a step are a function of the variables here, the window of
text, the learning rate and the step's number alone: dropout masks are drawn
from (seed, step, place).
"""

from collections.abc import Iterator

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.model.language_model import build_model
from ptb_lm.training import optimizers


class TrainingProgram:
    """Model, optimizer and carried state, and the compiled loop over them."""

    def __init__(self, config: Config, vocab_size: int):
        self.model = build_model(config, vocab_size)
        self._config = config.training
        self.weights = self.model.named_variables()
        self._optimizer = optimizers.Optimizer(config.training.optimizer, self.weights)
        steps = {"sum": 1, "mean": config.training.num_steps}
        self._loss_divisor = (
            config.training.batch_size * steps[config.training.loss_scale]
        )
        zeros = self.model.initial_state(config.training.batch_size)
        self._state = tf.nest.map_structure(
            lambda tensor: tf.Variable(tensor, trainable=False), zeros
        )

    def variables(self) -> dict[str, tf.Variable]:
        """Every variable that training changes, by checkpoint name."""
        named = {f"model/{name}": v for name, v in self.weights.items()}
        named |= {f"optimizer/{n}": v for n, v in self._optimizer.slots.items()}
        for index, parts in enumerate(self._state):
            # Only an LSTM has the second.
            named |= {
                f"state/{index}/{n}": v for n, v in zip("hc", parts, strict=False)
            }
        return named

    def reset_state(self) -> None:
        """Zeroes the carried state, as at the start of every epoch."""
        for variable in tf.nest.flatten(self._state):
            variable.assign(tf.zeros_like(variable))

    @tf.function(reduce_retracing=True)
    def train_steps(
        self, batches: Iterator, count: tf.Tensor, step: tf.Tensor, rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes several training steps in one graph call.

        Args:
          batches: iterator of (inputs, targets), int32 [batch, time].
          count: number of steps, int32 scalar.
          step: number of the first of them, int64 scalar.
          rate: learning rate, float32 scalar.

        Returns:
          For every step, float32 [count]: the sum of nats over its tokens, and
          the gradients' global norm before clipping.
        """
        nats = tf.TensorArray(tf.float32, size=count)
        norms = tf.TensorArray(tf.float32, size=count)
        for index in tf.range(count):
            inputs, targets = next(batches)
            step_nats, norm = self._train_step(
                inputs, targets, step + tf.cast(index, tf.int64), rate
            )
            nats = nats.write(index, step_nats)
            norms = norms.write(index, norm)
        return nats.stack(), norms.stack()

    # Only the loop above needs AutoGraph, which takes seconds over what it converts.
    @tf.autograph.experimental.do_not_convert
    def _train_step(self, inputs, targets, step, rate):
        """One step on one window: (sum of nats, gradient norm)."""
        nats, state, gradients = self.gradients(inputs, targets, step)
        if self._config.windows == "sequential":  # else the state stays zero
            tf.nest.map_structure(lambda v, part: v.assign(part), self._state, state)
        norm = optimizers.global_norm(list(gradients.values()))
        factor = optimizers.clip_factor(norm, self._config.max_grad_norm)
        self._optimizer.apply(gradients, self.weights, rate, factor, step)
        return nats, norm

    def gradients(self, inputs, targets, step):
        """Loss of one window and its gradients, from the carried state.

        The loss is nats averaged over the batch, and summed over time (as in the
        tutorial) or averaged over it, as --loss_scale says. The embedding's rows
        are read outside the tape, so that their gradient stays one row per token
        whether or not weights are tied.

        Args:
          inputs: int32 [batch, time].
          targets: int32 [batch, time].
          step: int64 scalar, for the dropout masks.

        Returns:
          Sum of nats, final state, and gradients by variable name.
        """
        model, ids = self.model, tf.transpose(inputs)
        embedded = model.embed(ids)
        seeds = tf.constant(self._config.seed, tf.int64), step
        state = tf.nest.map_structure(tf.convert_to_tensor, self._state)
        with tf.GradientTape() as tape:
            tape.watch(embedded)
            features, state = model.features(embedded, state, seeds)
            nats = tf.reduce_sum(model.token_nats(features, tf.transpose(targets)))
            loss = nats / self._loss_divisor
        gradients = tape.gradient(loss, self.weights | {"embedded": embedded})
        rows = tf.reshape(gradients.pop("embedded"), [-1, model.hidden_size])
        slices = optimizers.deduplicate(tf.reshape(ids, [-1]), rows, model.vocab_size)
        if model.tied:
            gradients["embedding"] = tf.tensor_scatter_nd_add(
                gradients["embedding"], slices.indices[:, None], slices.values
            )
        else:
            gradients["embedding"] = slices
        return nats, state, gradients
