"""The loop over time that all recurrent kernels share.

    p = X W + b                          the inputs of all steps, in one product
    for t = 1 .. T:                      the loop forward
        u_t = h_{t-1} R (+ d)
        state_t = step(state_{t-1}, p_t, u_t)
    for t = T .. 1:                      the loop backward
        dp_t, du_t and the gradient of state_{t-1}
    dX, dW, db from dp; dR, dd from du   each in one product or sum

A `CellKernel` computes one time step, forward and backward. Everything else is here and
in `recurrence`. `run_sequence` is a function with its own gradient.
"""

import abc
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ptb_lm.model.recurrence import (
    Steps,
    gate_kernels,
    project,
    projection_gradient,
    recurrent_gradient,
    scan,
    stack,
    state_gradient,
    state_products,
)

# Tensors by gate, each [batch, units].
Gates = list[tf.Tensor]
# The parts of a state, h first, each [batch, units].
StateParts = Sequence[tf.Tensor]


class CellKernel(abc.ABC):
    """The arithmetic of one time step of a cell, and what the loop must know of it.

    The first part of the state is the output, h. All parts have the layer's units.

    Attributes:
      gates: number of gates: W has gates * units columns, and so has R.
      saved: number of tensors that `forward` saves for `backward`.
      reads_output: whether `backward` also reads the output of the time step.
      recurrent_bias: whether the bias has a second row, d, which the loop adds to the
        product with R. The bias is then [2, gates * units], else [gates * units].
      apart: number of gates, the last ones, that do more with the product with h than
        add it to the projected input. Their projected inputs and their products have
        different gradients.
    """

    gates: int
    saved: int = 0
    reads_output: bool = False
    recurrent_bias: bool = False
    apart: int = 0

    @abc.abstractmethod
    def forward(
        self, state: StateParts, projected: Gates, products: Gates
    ) -> tuple[StateParts, tuple[tf.Tensor, ...]]:
        """Computes one time step.

        Args:
          state: before the step.
          projected: x W + b of each gate.
          products: h R of each gate, d included.

        Returns:
          The next state, and what `backward` needs of this time step: `saved`
          tensors [batch, units].
        """

    @abc.abstractmethod
    def backward(
        self, d_state: StateParts, *saved: tf.Tensor
    ) -> tuple[Sequence[tf.Tensor | None], Gates, Gates]:
        """Computes the gradient of one time step.

        Args:
          d_state: gradients of the state after the time step.
          *saved: first the output of the time step if `reads_output`, then what
            `forward` saved.

        Returns:
          Three things: the gradients of the state before the time step, where that of
          h leaves out what comes through the products (None: nothing else comes); the
          gradients of the products; and the gradients of the projected inputs of the
          gates that are `apart`.
        """


def run_sequence(
    cell_kernel: CellKernel,
    inputs: tf.Tensor,
    state: StateParts,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    with_gradient: bool = True,
    matmul_dtype: str | None = None,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs a cell over a sequence, with a hand-written gradient.

    Args:
      cell_kernel: the cell.
      inputs: [time, batch, width].
      state: before the first step, each part [batch, units].
      kernel: W, [width, gates * units].
      recurrent_kernel: R, [units, gates * units].
      bias: b, [gates * units], or b and d, [2, gates * units].
      with_gradient: False leaves out what only the gradient needs; there is none
        then.
      matmul_dtype: type that matrices are multiplied in, see `precision`; None:
        their own.

    Returns:
      Outputs [time, batch, units], and the state after the last step.
    """

    @tf.custom_gradient
    def run(*arguments: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Any]:
        results, kernels, saved = _forward(cell_kernel, arguments, matmul_dtype, True)

        def gradient(*d_results: tf.Tensor) -> tuple[tf.Tensor, ...]:
            read = arguments, results[0], kernels, saved
            return _backward(cell_kernel, *read, d_results, matmul_dtype)

        return results, gradient

    # Variables are read here and now: a stateful layer assigns to them before the
    # gradient is computed.
    arguments = [
        tf.convert_to_tensor(argument)
        for argument in (inputs, *state, kernel, recurrent_kernel, bias)
    ]
    if with_gradient:
        results = run(*arguments)
    else:
        results, *_ = _forward(cell_kernel, arguments, matmul_dtype, False)
    outputs, *final = results
    return outputs, final


def _forward(
    cell_kernel: CellKernel,
    arguments: Sequence[tf.Tensor],
    matmul_dtype: str | None,
    saves: bool,
) -> tuple[tuple[tf.Tensor, ...], list[tf.Tensor], list[Steps]]:
    """The loop forward.

    Returns:
      Outputs and final state; the recurrent kernel as the loop multiplies by it;
      and what the loop backward reads step by step.
    """
    inputs, *state, kernel, recurrent_kernel, bias = arguments
    gates, units = cell_kernel.gates, state[0].shape[1]
    kernels = gate_kernels(recurrent_kernel, gates, inputs.shape[0], matmul_dtype)
    recurrent_biases = []
    if cell_kernel.recurrent_bias:
        bias, recurrent_bias = bias[0], bias[1]
        recurrent_biases = tf.split(recurrent_bias, gates)

    def step(
        state: StateParts, projected: tf.Tensor
    ) -> tuple[StateParts, tuple[tf.Tensor, ...]]:
        products = state_products(state[0], kernels, gates)
        if recurrent_biases:
            pairs = zip(products, recurrent_biases, strict=True)
            products = [tf.nn.bias_add(product, row) for product, row in pairs]
        state, saved = cell_kernel.forward(state, _cut(projected, gates), products)
        return state, (state[0], *saved) if saves else (state[0],)

    projected = project(inputs, kernel, bias, matmul_dtype)
    widths = [units] * (1 + cell_kernel.saved if saves else 1)
    final, (outputs, *saved) = scan(step, tuple(state), [projected], widths)
    if cell_kernel.reads_output:
        saved = [outputs, *saved]
    return (stack(outputs), *final), kernels, saved


def _backward(
    cell_kernel: CellKernel,
    arguments: Sequence[tf.Tensor],
    outputs: tf.Tensor,
    kernels: list[tf.Tensor],
    saved: list[Steps],
    d_results: Sequence[tf.Tensor],
    matmul_dtype: str | None,
) -> tuple[tf.Tensor, ...]:
    """The loop backward: gradients of the arguments, from those of the results."""
    inputs, h, *_, kernel, _, _ = arguments
    d_outputs, *d_last = d_results
    gates, units, apart = cell_kernel.gates, h.shape[1], cell_kernel.apart
    # Laid out so that the loop multiplies by it as it stands.
    transposed = [tf.transpose(kernel) for kernel in kernels]

    def step(
        d_state: StateParts, d_output: tf.Tensor, *saved: tf.Tensor
    ) -> tuple[StateParts, tuple[tf.Tensor, ...]]:
        d_h, *d_others = d_state
        (d_h, *d_others), d_products, d_apart = cell_kernel.backward(
            (d_h + d_output, *d_others), *saved
        )
        through = state_gradient(d_products, transposed)
        d_h = through if d_h is None else d_h + through
        return (d_h, *d_others), (_join(d_products), *d_apart)

    widths = [gates * units] + [units] * apart
    d_state, results = scan(
        step, tuple(d_last), [d_outputs, *saved], widths, reverse=True
    )
    d_products, *d_apart = map(stack, results)
    d_projected = d_products
    if apart:
        alike = d_products[..., : (gates - apart) * units]
        d_projected = tf.concat([alike, *d_apart], axis=-1)
    d_inputs, d_kernel, d_bias = projection_gradient(
        inputs, kernel, d_projected, matmul_dtype
    )
    d_recurrent = recurrent_gradient(h, outputs, d_products, matmul_dtype)
    if cell_kernel.recurrent_bias:
        d_bias = tf.stack([d_bias, tf.reduce_sum(d_products, axis=[0, 1])])
    return d_inputs, *d_state, d_kernel, d_recurrent, d_bias


def _cut(columns: tf.Tensor, gates: int) -> Gates:
    """[batch, gates * units] by gate; a single gate costs no operation."""
    return tf.split(columns, gates, axis=1) if gates > 1 else [columns]


def _join(parts: Gates) -> tf.Tensor:
    """The inverse of `_cut`."""
    return tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]
