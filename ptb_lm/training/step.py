"""The training step, and the compiled loop that takes many of them.

The weights after a step are a function of the variables here, the window of
text, the learning rate and the step's number alone: dropout masks are drawn
from (seed, step, place).
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.windows import Windows
from ptb_lm.model.dropout import SeedAndStep
from ptb_lm.model.language_model import Outputs, State, build_model
from ptb_lm.registry import AVERAGES, OPTIMIZERS
from ptb_lm.runs.position import Position
from ptb_lm.training.devices import Devices
from ptb_lm.training.gradients import (
    Gradient,
    clip_factor,
    deduplicate,
    global_norm,
    values_of,
)
from ptb_lm.training.regularization import activation_penalty


class TrainingProgram:
    """Model, optimizer, average and carried state, and the compiled loop over them.

    Attributes:
      model: the model.
      weights: its variables, by name.
      average: of the weights.
    """

    def __init__(self, config: Config, vocab_size: int, devices: Devices | None = None):
        """Creates the variables.

        Args:
          config: the whole configuration.
          vocab_size: number of tokens.
          devices: that share each batch; None: one, TensorFlow's choice.
        """
        self._devices = devices = devices or Devices()
        self._config = training = config.training
        with devices.scope():
            self.model = build_model(config, vocab_size)
            self.weights = self.model.named_variables()
            self._optimizer = OPTIMIZERS[training.optimizer](self.weights, training)
            self.average = AVERAGES[training.average](self.weights, training)
            zeros = self.model.initial_state(devices.rows_of(training.batch_size))
            self._state = tf.nest.map_structure(devices.state_variable, zeros)
        self._has_random_lengths = training.window_lengths == "random"
        columns = None if self._has_random_lengths else training.num_steps
        window = tf.TensorSpec([training.batch_size, columns], tf.int32)
        number = tf.TensorSpec([], tf.int64)
        # With a signature, it is traced once, whatever the number of steps.
        self._compiled_loop = tf.function(
            self._loop,
            input_signature=[
                tf.data.IteratorSpec((window, window)),
                number,
                tf.TensorSpec([None], tf.float32),
            ],
        )
        self.gradient_values = tf.function(
            self._gradient_values,
            input_signature=[window, window, number],
            autograph=False,
        )

    def variables(self) -> dict[str, tf.Variable]:
        """Every variable that training changes, by checkpoint name."""
        named = {f"model/{name}": v for name, v in self.weights.items()}
        named |= {f"optimizer/{n}": v for n, v in self._optimizer.variables.items()}
        named |= {f"average/{n}": v for n, v in self.average.variables.items()}
        for index, parts in enumerate(self.model.state_parts):
            for (name, _), variable in zip(parts, self._state[index], strict=True):
                named[f"state/{index}/{name}"] = self._devices.whole(variable)
        return named

    def arrays(self) -> dict[str, np.ndarray]:
        """The values of `variables`; every worker must ask for them."""
        return {name: v.numpy() for name, v in self.variables().items()}

    def follow_chief(self, arrays: dict[str, np.ndarray]) -> None:
        """Sets every variable as the chief has it; every worker must call this.

        Args:
          arrays: the chief's, by checkpoint name; other workers need not give any.
        """
        variables = self.variables()
        zeros = {n: np.zeros(v.shape, v.dtype.name) for n, v in variables.items()}
        for name, array in self._devices.from_chief(arrays or zeros).items():
            variables[name].assign(array)

    def reset_state(self) -> None:
        """Zeroes the carried state, as at the start of every epoch."""
        for variable in map(self._devices.whole, tf.nest.flatten(self._state)):
            variable.assign(tf.zeros(variable.shape))

    @contextlib.contextmanager
    def averaged(self, step: int) -> Iterator[None]:
        """Meanwhile, the model has the averaged weights, where there are such.

        Nothing is copied but references, as long as no step is taken.

        Args:
          step: training steps taken.
        """
        if not self.average.is_active(step):
            yield
            return
        raw = {name: weight.read_value() for name, weight in self.weights.items()}
        try:
            for name, mean in self.average.means.items():
                self.weights[name].assign(mean)
            yield
        finally:
            for name, value in raw.items():
                self.weights[name].assign(value)

    def train_steps(
        self, batches: Iterator, step: int, rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Takes several training steps in one call of the compiled loop.

        Args:
          batches: iterator of a `tf.data.Dataset` of (inputs, targets), int32
            [batch, time].
          step: number of the first of the steps, from 0.
          rates: learning rate of each step, [count].

        Returns:
          For every step, float32 [count]: the sum of nats over its tokens, and
          the gradients' global norm before clipping.
        """
        nats, norms = self._compiled_loop(
            batches,
            # As NumPy's numbers: TensorFlow keeps a tensor of every one of Python's.
            tf.constant(np.int64(step)),
            tf.constant(rates.astype(np.float32)),
        )
        return nats.numpy(), norms.numpy()

    def _loop(
        self, batches: Iterator, step: tf.Tensor, rates: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The graph of `train_steps`."""
        count = tf.shape(rates)[0]
        nats = tf.TensorArray(tf.float32, size=count)
        norms = tf.TensorArray(tf.float32, size=count)
        for index in tf.range(count):
            inputs, targets = next(batches)
            number = step + tf.cast(index, tf.int64)
            step_nats, norm = self._devices.run(
                self._train_step, inputs, targets, number, rates[index]
            )
            nats = nats.write(index, step_nats)
            norms = norms.write(index, norm)
        return nats.stack(), norms.stack()

    # Only the loop above needs AutoGraph, which takes seconds over what it converts.
    @tf.autograph.experimental.do_not_convert
    def _train_step(
        self, inputs: tf.Tensor, targets: tf.Tensor, step: tf.Tensor, rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One device's part of a step on one window: (sum of nats, gradient norm)."""
        nats, state, gradients = self.gradients(inputs, targets, step)
        if self._config.windows == "sequential":  # else the state stays zero
            tf.nest.map_structure(lambda v, part: v.assign(part), self._state, state)
        norm = global_norm(list(gradients.values()))
        factor = clip_factor(norm, self._config.max_grad_norm)
        if self._has_random_lengths:
            columns = tf.cast(tf.shape(inputs)[1], tf.float32)
            rate *= columns / self._config.num_steps
        self._optimizer.apply(gradients, self.weights, rate, factor, step)
        self.average.update(step)
        return nats, norm

    def gradients(
        self, inputs: tf.Tensor, targets: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, State, dict[str, Gradient]]:
        """Loss of one window and its gradients, from the carried state.

        The loss is nats averaged over the batch, and summed over time (as in the
        tutorial) or averaged over it, as --loss_scale says. That of a window of
        another length than num_steps is on the scale of one of num_steps: the mean
        over all tokens, times num_steps where it is a sum. So are the penalties of
        --ar and --tar, which are no part of the nats. The embedding's rows
        are read outside the tape, so that their gradient stays one row per token
        whether or not weights are tied.

        Where several devices share the batch, each computes its own rows, and has the
        sums over all rows of the nats and of the gradients.

        Args:
          inputs: int32 [batch, time], the whole batch.
          targets: int32 [batch, time].
          step: int64 scalar, for the dropout masks.

        Returns:
          Sum of nats, final state of the device's rows, and gradients by variable name.
        """
        model, devices = self.model, self._devices
        all_ids = tf.transpose(inputs)
        ids = devices.own_rows(all_ids)
        targets = devices.own_rows(tf.transpose(targets))
        embedded = model.embed(ids)
        seed = tf.constant(self._config.seed, tf.int64)
        seeds = SeedAndStep(seed, step, devices.rows(inputs.shape[0]))
        state = tf.nest.map_structure(tf.convert_to_tensor, self._state)
        with tf.GradientTape() as tape:
            tape.watch(embedded)
            dropped = model.drop_words(embedded, ids, seeds)
            outputs = model.outputs(dropped, state, seeds)
            nats = tf.reduce_sum(model.token_nats(outputs.features, targets, seeds))
            loss = self._loss(nats, targets, outputs)
        gradients = tape.gradient(loss, self.weights | {"embedded": embedded})
        rows = gradients.pop("embedded")
        in_rows = not model.options.tied and devices.can_spread(rows)
        if in_rows:
            gradients["embedding"] = devices.spread(rows)
        elif model.options.tied:
            slices = self._slices(ids, rows)
            of_softmax = tf.convert_to_tensor(gradients["embedding"])
            gradients["embedding"] = tf.tensor_scatter_nd_add(
                of_softmax, slices.indices[:, None], slices.values
            )
        else:
            gradients["embedding"] = tf.convert_to_tensor(self._slices(ids, rows))
        nats, gradients = devices.sum((nats, gradients))
        if in_rows:
            gradients["embedding"] = self._slices(all_ids, gradients["embedding"])
        return nats, outputs.state, gradients

    def _slices(self, ids: tf.Tensor, rows: tf.Tensor) -> tf.IndexedSlices:
        """Gradient of the embedding, from that of its rows.

        Args:
          ids: int32 [time, batch].
          rows: float32 [time, batch, width].
        """
        flat = tf.reshape(rows, [-1, rows.shape[-1]])
        return deduplicate(tf.reshape(ids, [-1]), flat, self.model.vocab_size)

    def _loss(self, nats: tf.Tensor, targets: tf.Tensor, outputs: Outputs) -> tf.Tensor:
        """A device's part of the loss of a window; see `gradients`.

        The parts of all devices add up to the loss of the whole batch.

        Args:
          nats: their sum over the device's rows, float32 scalar.
          targets: int32 [time, batch].
          outputs: of the window.
        """
        training = self._config
        scale = {"sum": training.num_steps, "mean": 1}[training.loss_scale]
        share = scale / self._devices.count
        tokens = targets.shape.num_elements()
        if tokens is None:
            tokens = tf.cast(tf.size(targets), tf.float32)
        loss = nats / (tokens / share)
        penalty = activation_penalty(outputs, training)
        return loss if penalty is None else loss + share * penalty

    def _gradient_values(
        self, inputs: tf.Tensor, targets: tf.Tensor, step: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Gradients as `gradients`; of the embedding, the rows of words read."""

        def values(*window: tf.Tensor) -> dict[str, tf.Tensor]:
            _, _, gradients = self.gradients(*window)
            return {name: values_of(gradient) for name, gradient in gradients.items()}

        return self._devices.run(values, inputs, targets, step)


def next_gradients(
    program: TrainingProgram, windows: Windows, position: Position
) -> dict[str, tf.Tensor]:
    """Gradients of the next step, by weight; none after the last of an epoch.

    Args:
      program: as it is after the last step; every worker must ask for them.
      windows: of the text.
      position: where the run is.
    """
    if position.window == windows.count(position.epoch):
        return {}
    inputs, targets = windows.read(position.epoch, position.window)
    step = tf.constant(np.int64(position.step))
    return program.gradient_values(tf.constant(inputs), tf.constant(targets), step)
