"""Loops over time, and the products before, in and after them.

The inputs of all steps are projected in one product before the loop over time, so
that only the product with the state is left inside. The loop backward collects the
gradients of all steps' projections, so that each weight's gradient is one product
after it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from ptb_lm.model.precision import cast, matmul

# Sequences of a known length up to this are unrolled: no loop machinery, and
# the layers of a stack overlap in time. Longer ones would take long to trace.
MAX_UNROLLED_STEPS = 128

# A loop's own work is spread over so many steps of a longer sequence.
STEPS_OF_AN_ITERATION = 8

sigmoid_gradient = tf.raw_ops.SigmoidGrad  # (y, dy) -> dy y (1 - y)
tanh_gradient = tf.raw_ops.TanhGrad  # (y, dy) -> dy (1 - y y)

# A tensor [time, ...], or one tensor for each step.
Steps: TypeAlias = tf.Tensor | list[tf.Tensor]
# (carry, one element of each sequence) -> (carry, results).
Step: TypeAlias = Callable[..., tuple[Any, tuple[tf.Tensor, ...]]]


def scan(
    step: Step,
    carry: Any,
    sequences: Sequence[Steps],
    widths: Sequence[int],
    reverse: bool = False,
) -> tuple[Any, list[Steps]]:
    """Carries a state through sequences, step by step.

    Args:
      step: (carry, one element of each sequence) -> (carry, results).
      carry: tensors [batch, units].
      sequences: what each step reads.
      widths: of the results, each [batch, width].
      reverse: whether to begin with the last step.

    Returns:
      The last carry, and the results: lists where the loop is unrolled, so that
      nothing is copied that is read step by step; else [time, batch, width].
    """
    first = sequences[0]
    time = len(first) if isinstance(first, list) else first.shape[0]
    if time is not None and time <= MAX_UNROLLED_STEPS:
        return _scan_unrolled(step, carry, sequences, reverse)
    tensors = [stack(sequence) for sequence in sequences]
    return _scan_in_a_loop(step, carry, tensors, widths, reverse)


def _scan_unrolled(
    step: Step, carry: Any, sequences: Sequence[Steps], reverse: bool
) -> tuple[Any, list[Steps]]:
    """`scan` of a known number of steps."""
    steps = [s if isinstance(s, list) else tf.unstack(s) for s in sequences]
    order = slice(None, None, -1 if reverse else 1)
    results = []
    for elements in list(zip(*steps, strict=True))[order]:
        carry, result = step(carry, *elements)
        results.append(result)
    return carry, [list(values) for values in zip(*results[order], strict=True)]


def _scan_in_a_loop(
    step: Step,
    carry: Any,
    sequences: Sequence[tf.Tensor],
    widths: Sequence[int],
    reverse: bool,
) -> tuple[Any, list[Steps]]:
    """`scan` of any number of steps, several in each iteration of a loop."""
    first = sequences[0]
    time, batch = tf.shape(first)[0], tf.nest.flatten(carry)[0].shape[0]
    inputs = [tf.TensorArray(s.dtype, time).unstack(s) for s in sequences]
    arrays = [
        tf.TensorArray(first.dtype, time, element_shape=[batch, width])
        for width in widths
    ]

    def body(
        count: tf.Tensor, carry: Any, arrays: list[tf.TensorArray], steps: int
    ) -> tuple[tf.Tensor, Any, list[tf.TensorArray]]:
        for _ in range(steps):
            index = time - 1 - count if reverse else count
            carry, results = step(carry, *(array.read(index) for array in inputs))
            written = zip(arrays, results, strict=True)
            arrays = [array.write(index, r) for array, r in written]
            count += 1
        return count, carry, arrays

    variables = 0, carry, arrays
    for steps in (STEPS_OF_AN_ITERATION, 1):
        variables = tf.while_loop(
            lambda count, *_, steps=steps: count + steps <= time,
            functools.partial(body, steps=steps),
            variables,
            parallel_iterations=1,
        )
    _, carry, arrays = variables
    return carry, [array.stack() for array in arrays]


def stack(steps: Steps) -> tf.Tensor:
    """The steps as one tensor [time, ...]."""
    return tf.stack(steps) if isinstance(steps, list) else steps


def project(
    inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, matmul_dtype: str | None
) -> tf.Tensor:
    """Projects the inputs of all steps, x W + b: [time, batch, columns]."""
    products = matmul(_flatten(inputs), cast(kernel, matmul_dtype))
    return _unflatten(tf.nn.bias_add(products, bias), inputs)


def projection_gradient(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    d_projected: tf.Tensor,
    matmul_dtype: str | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Gradients of `project`: those of the inputs, the kernel and the bias."""
    flat = _flatten(d_projected)
    factor = cast(flat, matmul_dtype)
    d_inputs = _unflatten(matmul(factor, kernel, transpose_b=True), inputs)
    d_kernel = matmul(_flatten(inputs), factor, transpose_a=True)
    return d_inputs, d_kernel, tf.reduce_sum(flat, axis=0)


def gate_kernels(
    recurrent_kernel: tf.Tensor, gates: int, steps: int | None, matmul_dtype: str | None
) -> list[tf.Tensor]:
    """The columns of each gate as a matrix of its own, [units, units].

    A step multiplies a few rows by the whole kernel. As one product that waits for
    memory; the gates' products run side by side, each with a matrix that a core's
    cache may hold: up to 1.4 times as fast with 650 units.

    Args:
      recurrent_kernel: [units, gates * units].
      gates: their number.
      steps: of the sequence. A single one is not worth the copying, and gets the
        kernel whole.
      matmul_dtype: type that matrices are multiplied in.
    """
    kernel = cast(recurrent_kernel, matmul_dtype)
    return [kernel] if steps == 1 else tf.split(kernel, gates, axis=1)


def state_products(
    h: tf.Tensor, kernels: list[tf.Tensor], gates: int
) -> list[tf.Tensor]:
    """Products of h [batch, units] with the kernel of each gate."""
    h = tf.cast(h, kernels[0].dtype)
    products = [matmul(h, kernel) for kernel in kernels]
    if len(products) < gates:
        return tf.split(products[0], gates, axis=1)
    return products


def state_gradient(
    d_products: list[tf.Tensor], transposed: list[tf.Tensor]
) -> tf.Tensor:
    """Gradient of h, from those of its products and the transposed kernels."""
    if len(transposed) < len(d_products):
        d_products = [tf.concat(d_products, axis=1)]
    pairs = zip(d_products, transposed, strict=True)
    return tf.add_n([matmul(d_product, kernel) for d_product, kernel in pairs])


def recurrent_gradient(
    h: tf.Tensor, outputs: tf.Tensor, d_products: tf.Tensor, matmul_dtype: str | None
) -> tf.Tensor:
    """Gradient of the kernel that every step's previous output is multiplied by.

    Args:
      h: output before the first step [batch, units].
      outputs: [time, batch, units].
      d_products: gradients of the products, [time, batch, columns].
      matmul_dtype: type that matrices are multiplied in.
    """
    factor = cast(_flatten(d_products), matmul_dtype)
    previous = tf.concat([h[None], outputs[:-1]], axis=0)
    return matmul(_flatten(previous), factor, transpose_a=True)


def _flatten(sequence: tf.Tensor) -> tf.Tensor:
    """[time, batch, width] -> [time * batch, width]."""
    return tf.reshape(sequence, [-1, sequence.shape[2]])


def _unflatten(rows: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[time * batch, width] -> [time, batch, width], time and batch of `like`."""
    time, batch, _ = tf.unstack(tf.shape(like))
    sequence = tf.reshape(rows, [time, batch, rows.shape[1]])
    sequence.set_shape([*like.shape[:2], rows.shape[1]])
    return sequence
