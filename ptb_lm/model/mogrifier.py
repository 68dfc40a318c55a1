"""The Mogrifier LSTM: before every step, input and state gate each other.

    v^{-1} = x_t;  v^0 = h_{t-1}
    v^i = 2 sigmoid(v^{i-1} M^i) v^{i-2}        i = 1 .. r
    h_t, c_t = LSTM(x', h', c_{t-1})            x', h': the last v of odd, even index

(Melis, Kocisky and Blunsom 2020, arXiv 1909.01792, equations 1 and 2. M^i is called
Q^i there where i is odd, and R^i where it is even. In section 2 each may be a product
of two matrices of a lower rank.) There are no biases in the gates. With r = 0 this is
the LSTM.

What the input is multiplied by depends on the state, so that nothing can be projected
before the loop over time. The weights' gradients are products after it all the same.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.model.cell import Cell, Layer, LayerOptions, run_keras_loop
from ptb_lm.model.lstm import LSTMKernel, lstm_bias
from ptb_lm.model.precision import cast, matmul
from ptb_lm.model.recurrence import (
    Steps,
    gate_kernels,
    scan,
    sigmoid_gradient,
    stack,
    state_gradient,
    state_products,
)

LSTM_STEP = LSTMKernel()

# The matrices of one gate: M, or two whose product it is.
Factors = list[tf.Tensor]


class MogrifierCell(keras.layers.Layer):
    """One step as Keras's loop takes it; it holds the weights.

    Attributes:
      kernel: W, [width, 4 units]; the gates in the order i, f, g, o.
      recurrent_kernel: [units, 4 units].
      bias: [4 units].
      gates: the matrices M of each round, see `Mogrifier.weight_names`.
      rnn_mode: "keras" for Keras's loop.
      matmul_dtype: of the matrix products in this project's loop.
    """

    def __init__(self, units: int, cell: "Mogrifier", options: LayerOptions):
        """Takes what `Cell.make_layer` is given."""
        super().__init__()
        self.state_size, self.output_size = [units, units], units
        self.rnn_mode, self.matmul_dtype = options.rnn_mode, options.matmul_dtype
        self._facts, self._options = cell, options

    def build(self, input_shape: Sequence[int]) -> None:
        """Makes the weights."""
        width, units = input_shape[-1], self.output_size
        shapes = self._facts.weight_shapes(width, units)
        for name, shape in shapes.items():
            initializer = lstm_bias(units, self._options.forget_bias)
            if name != "bias":
                initializer = self._options.initializer()
            weight = self.add_weight(shape=shape, initializer=initializer, name=name)
            setattr(self, name, weight)

    @property
    def gates(self) -> list[Factors]:
        """The matrices of each round."""
        names = self._facts.weight_names[3:]
        factors = [getattr(self, name).value for name in names]
        each = self._facts.factors
        return [factors[i : i + each] for i in range(0, len(factors), each)]

    def call(
        self, inputs: tf.Tensor, states: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Input [batch, width] and state (h, c) -> output, next state."""
        x, (h, c) = inputs, states
        for index, factors in enumerate(self.gates):
            products = h if index % 2 == 0 else x
            for factor in factors:
                products = tf.matmul(products, factor)
            if index % 2 == 0:
                x = 2.0 * tf.sigmoid(products) * x
            else:
                h = 2.0 * tf.sigmoid(products) * h
        z = tf.matmul(x, self.kernel.value) + tf.matmul(h, self.recurrent_kernel.value)
        i, f, g, o = tf.split(z + self.bias.value, 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return h, [h, c]


class Mogrifier(Cell):
    """The cell, with a number of rounds and the rank of their matrices.

    Attributes:
      factors: number of matrices of one round.
      weight_names: those of an LSTM; then q_1, r_2, q_3 ..., as the paper calls them,
        or of a lower rank q_1_down, q_1_up, r_2_down ...
    """

    state_names = ("h", "c")
    options = ("mogrifier_rounds", "mogrifier_rank")

    def __init__(self, rounds: int = 5, rank: int = 0):
        """Takes r, and the rank of each M; 0: full."""
        self._rounds, self._rank = rounds, rank
        parts = ("_down", "_up") if rank else ("",)
        self.factors = len(parts)
        gates = [f"{'rq'[i % 2]}_{i}" for i in range(1, rounds + 1)]
        names = [gate + part for gate in gates for part in parts]
        self.weight_names = ("kernel", "recurrent_kernel", "bias", *names)

    def with_options(self, options: ModelConfig) -> "Mogrifier":
        """See `Cell.with_options`."""
        return Mogrifier(options.mogrifier_rounds, options.mogrifier_rank)

    def weight_shapes(self, width: int, units: int) -> dict[str, tuple[int, ...]]:
        """Shape of each weight by its name."""
        shapes = [(width, 4 * units), (units, 4 * units), (4 * units,)]
        for index in range(self._rounds):
            rows, columns = (units, width) if index % 2 == 0 else (width, units)
            inner = [self._rank] if self._rank else []
            shapes += itertools.pairwise([rows, *inner, columns])
        return dict(zip(self.weight_names, shapes, strict=True))

    def make_layer(self, units: int, name: str, options: LayerOptions) -> Layer:
        """See `Cell.make_layer`."""
        cell = MogrifierCell(units, self, options)
        return keras.layers.RNN(
            cell, return_sequences=True, return_state=True, name=name
        )

    def parameters(self, width: int, units: int) -> int:
        """See `Cell.parameters`."""
        gate = self._rank * (width + units) if self._rank else width * units
        return (width + units + 1) * 4 * units + self._rounds * gate

    def multiply_adds(self, width: int, units: int) -> int:
        """See `Cell.multiply_adds`: all parameters but the biases."""
        return self.parameters(width, units) - 4 * units

    def kept_floats(self, units: int) -> int:
        """See `Cell.kept_floats`: an LSTM's, and of a round one tensor at least."""
        return (6 + self._rounds) * units

    def run(
        self,
        layer: Layer,
        inputs: tf.Tensor,
        state: list[tf.Tensor],
        with_gradient: bool = True,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """See `Cell.run`; on a GPU too, for which nobody else has a kernel."""
        cell = layer.cell
        if cell.rnn_mode == "keras":
            return run_keras_loop(layer, inputs, state)
        weights = [cell.kernel.value, cell.recurrent_kernel.value, cell.bias.value]
        return run_mogrifier(
            inputs, state, weights, cell.gates, with_gradient, cell.matmul_dtype
        )


CELL = Mogrifier()


def run_mogrifier(
    inputs: tf.Tensor,
    state: Sequence[tf.Tensor],
    weights: Sequence[tf.Tensor],
    gates: list[Factors],
    with_gradient: bool = True,
    matmul_dtype: str | None = None,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs the cell over a sequence, with a hand-written gradient.

    Args:
      inputs: [time, batch, width].
      state: h and c before the first step, [batch, units].
      weights: kernel, recurrent kernel and bias, as of an LSTM.
      gates: of each round M, [units, width] and [width, units] in turn; or two
        matrices whose product it is.
      with_gradient: as of `run_sequence`.
      matmul_dtype: as of `run_sequence`.

    Returns:
      Outputs [time, batch, units], and the state after the last step.
    """

    @tf.custom_gradient
    def run(*arguments: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Any]:
        loop = _Loop(arguments, len(gates), matmul_dtype)
        results, saved = loop.forward(saves=True)

        def gradient(*d_results: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return loop.backward(saved, d_results)

        return results, gradient

    factors = [factor for gate in gates for factor in gate]
    arguments = [tf.convert_to_tensor(a) for a in (inputs, *state, *weights, *factors)]
    if with_gradient:
        results = run(*arguments)
    else:
        results, _ = _Loop(arguments, len(gates), matmul_dtype).forward(saves=False)
    outputs, *final = results
    return outputs, final


class _Loop:
    """The loops forward and backward, over one set of arguments.

    Every product has a matrix, reads a value [batch, rows], and gives another: those
    of the rounds, and then that of x' and h' side by side with W over R. The gradient
    of a matrix is the product of what it read in all steps with the gradients of what
    it gave.
    """

    def __init__(
        self, arguments: Sequence[tf.Tensor], rounds: int, matmul_dtype: str | None
    ):
        """Takes the arguments of `run_mogrifier`, one after the other."""
        self._inputs, *self._state, kernel, recurrent, self._bias = arguments[:6]
        factors = [cast(factor, matmul_dtype) for factor in arguments[6:]]
        self._each = len(factors) // max(rounds, 1)
        self._gates = [
            factors[i * self._each : (i + 1) * self._each] for i in range(rounds)
        ]
        self._units, self._width = recurrent.shape[0], kernel.shape[0]
        self._matmul_dtype = matmul_dtype
        joined = tf.concat([kernel, recurrent], axis=0)
        steps = self._inputs.shape[0]
        self._kernels = gate_kernels(joined, 4, steps, matmul_dtype)

    def forward(self, saves: bool) -> tuple[tuple[tf.Tensor, ...], list[Steps]]:
        """The loop forward: outputs and final state; what `backward` reads."""
        biases = tf.split(self._bias, 4)

        def step(
            state: Sequence[tf.Tensor], x: tf.Tensor
        ) -> tuple[Sequence[tf.Tensor], tuple[tf.Tensor, ...]]:
            joined, sigmas, reads = self._mogrify(x, state[0])
            products = state_products(joined, self._kernels, 4)
            state, saved = LSTM_STEP.forward(state, biases, products)
            if not saves:
                return state, (state[0],)
            return state, (state[0], *saved, *sigmas, *reads, joined)

        widths = self._saved_widths() if saves else [self._units]
        final, (outputs, *saved) = scan(
            step, tuple(self._state), [self._inputs], widths
        )
        return (stack(outputs), *final), saved

    def _mogrify(
        self, x: tf.Tensor, h: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """The rounds of one step: x' and h' side by side, sigmoids, what was read."""
        before, last = x, h
        sigmas, reads = [], []
        for factors in self._gates:
            value = last
            for factor in factors:
                reads.append(value)
                value = matmul(value, factor)
            sigmas.append(tf.sigmoid(value))
            before, last = last, 2.0 * sigmas[-1] * before
        x, h = (before, last) if len(self._gates) % 2 == 0 else (last, before)
        return tf.concat([x, h], axis=1), sigmas, reads

    def _saved_widths(self) -> list[int]:
        """Widths of the output and of all that a step saves."""
        sigmas = [gate[-1].shape[1] for gate in self._gates]
        reads = [factor.shape[0] for gate in self._gates for factor in gate]
        joined = self._width + self._units
        return [self._units] * (1 + LSTM_STEP.saved) + [*sigmas, *reads, joined]

    def backward(
        self, saved: list[Steps], d_results: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, ...]:
        """The loop backward: gradients of the arguments, from those of the results."""
        d_outputs, *d_last = d_results
        kernels = [tf.transpose(kernel) for kernel in self._kernels]
        gates = [[tf.transpose(f) for f in factors] for factors in self._gates]
        rounds, of_lstm = len(gates), LSTM_STEP.saved

        def step(
            d_state: Sequence[tf.Tensor],
            d_output: tf.Tensor,
            x: tf.Tensor,
            *saved: tf.Tensor,
        ) -> tuple[Sequence[tf.Tensor], tuple[tf.Tensor, ...]]:
            d_h, d_c = d_state
            (_, d_c), d_z, _ = LSTM_STEP.backward(
                (d_h + d_output, d_c), *saved[:of_lstm]
            )
            d_joined = state_gradient(d_z, kernels)
            sigmas, reads = saved[of_lstm:][:rounds], saved[of_lstm + rounds :]
            d_x, d_h, d_products = self._mogrify_gradient(
                d_joined, x, sigmas, reads, gates
            )
            return (d_h, d_c), (d_x, *d_products, tf.concat(d_z, axis=1))

        widths = [self._width]
        widths += [factor.shape[1] for gate in self._gates for factor in gate]
        d_state, (d_inputs, *d_products) = scan(
            step,
            tuple(d_last),
            [d_outputs, self._inputs, *saved[:-1]],
            [*widths, 4 * self._units],
            reverse=True,
        )
        d_matrices = self._matrix_gradients(saved[of_lstm + rounds :], d_products)
        *d_factors, d_joined = d_matrices
        d_kernel, d_recurrent = tf.split(d_joined, [self._width, self._units])
        d_bias = tf.reduce_sum(stack(d_products[-1]), axis=[0, 1])
        weights = d_kernel, d_recurrent, d_bias
        return (stack(d_inputs), *d_state, *weights, *d_factors)

    def _mogrify_gradient(
        self,
        d_joined: tf.Tensor,
        x: tf.Tensor,
        sigmas: Sequence[tf.Tensor],
        reads: Sequence[tf.Tensor],
        transposed: list[Factors],
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Gradients of x, h, and of each product of the rounds of one step."""
        rounds = len(transposed)
        d_x, d_h = tf.split(d_joined, [self._width, self._units], axis=1)
        d_before, d_last = (d_x, d_h) if rounds % 2 == 0 else (d_h, d_x)
        d_products: list[tf.Tensor] = []
        for index in reversed(range(rounds)):
            # v^{i-2}: the round before read it first.
            gated = reads[(index - 1) * self._each] if index else x
            sigma = sigmas[index]
            d_value = sigmoid_gradient(y=sigma, dy=2.0 * d_last * gated)
            for factor in reversed(transposed[index]):
                d_products.insert(0, d_value)
                d_value = matmul(d_value, factor)
            d_before, d_last = 2.0 * sigma * d_last, d_before + d_value
        return d_before, d_last, d_products

    def _matrix_gradients(
        self, reads: list[Steps], d_products: list[Steps]
    ) -> list[tf.Tensor]:
        """Gradients of the matrices, each one product over all steps."""

        def flat(steps: Steps) -> tf.Tensor:
            rows = stack(steps)
            return cast(tf.reshape(rows, [-1, rows.shape[2]]), self._matmul_dtype)

        return [
            matmul(flat(read), flat(d_product), transpose_a=True)
            for read, d_product in zip(reads, d_products, strict=True)
        ]
