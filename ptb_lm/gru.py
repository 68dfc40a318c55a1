"""The GRU and the simple recurrent layer, with sequence kernels like the LSTM's.

    GRU (Cho et al. 2014, in the form that cuDNN and Keras compute):
        p_t = x_t W + b;  u_t = h_{t-1} R + d, each (z, r, g)
        z = sigmoid(p_z + u_z);  r = sigmoid(p_r + u_r);  g = tanh(p_g + r u_g)
        h_t = z h_{t-1} + (1 - z) g

    simple (Elman 1990):  h_t = tanh(x_t W + b + h_{t-1} R)

In the GRU the reset gate acts after the matrix product (Keras's reset_after), so
that a step is one product; Cho et al. have it before, which takes two, one after the
other, and is left to Keras. As in the LSTM, the inputs of all steps are projected
before the loop, and each weight's gradient is one product after it.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from ptb_lm.fused_layer import FusedLayer, flatten, unflatten
from ptb_lm.lstm import MAX_UNROLLED_STEPS
from ptb_lm.precision import cast, matmul


def scan(
    step: Callable[..., tuple[tf.Tensor, tuple[tf.Tensor, ...]]],
    carry: tf.Tensor,
    sequences: Sequence[tf.Tensor],
    widths: Sequence[int],
    reverse: bool = False,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Carries a tensor through sequences, step by step.

    Args:
      step: (carry, one element of each sequence) -> (carry, results).
      carry: [batch, hidden].
      sequences: each [time, ...].
      widths: of the results, each [batch, width].
      reverse: whether to begin with the last step.

    Returns:
      The last carry, and the results, each [time, batch, width].
    """
    time = sequences[0].shape[0]
    if time is not None and time <= MAX_UNROLLED_STEPS:
        elements = list(zip(*map(tf.unstack, sequences), strict=True))
        results = []
        for values in elements[::-1] if reverse else elements:
            carry, result = step(carry, *values)
            results.append(result)
        results = results[::-1] if reverse else results
        return carry, [tf.stack(values) for values in zip(*results, strict=True)]
    time = tf.shape(sequences[0])[0]
    inputs = [tf.TensorArray(s.dtype, time).unstack(s) for s in sequences]
    arrays = [
        tf.TensorArray(carry.dtype, time, element_shape=[carry.shape[0], width])
        for width in widths
    ]

    def body(count, carry, arrays):
        index = time - 1 - count if reverse else count
        carry, results = step(carry, *(array.read(index) for array in inputs))
        written = zip(arrays, results, strict=True)
        return count + 1, carry, [array.write(index, r) for array, r in written]

    _, carry, arrays = tf.while_loop(
        lambda count, *_: count < time, body, (0, carry, arrays), parallel_iterations=1
    )
    return carry, [array.stack() for array in arrays]


def _project(inputs, kernel, bias, matmul_dtype):
    """Projects the inputs of all steps: x W + b, [time, batch, columns]."""
    products = matmul(flatten(inputs), cast(kernel, matmul_dtype))
    return unflatten(tf.nn.bias_add(products, bias), inputs)


def _projection_gradient(inputs, kernel, d_projected, matmul_dtype):
    """Gradients of `_project`: those of the inputs, the kernel and the bias."""
    flat = flatten(d_projected)
    factor = cast(flat, matmul_dtype)
    d_inputs = unflatten(matmul(factor, kernel, transpose_b=True), inputs)
    d_kernel = matmul(flatten(inputs), factor, transpose_a=True)
    return d_inputs, d_kernel, tf.reduce_sum(flat, axis=0)


def _previous(h, outputs):
    """State before every step, flat: [time * batch, hidden]."""
    return flatten(tf.concat([h[None], outputs[:-1]], axis=0))


def gru_sequence(
    inputs: tf.Tensor,
    h: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    with_gradient: bool = True,
    matmul_dtype: str | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a GRU over a sequence, with a hand-written gradient.

    Args:
      inputs: [time, batch, width].
      h: output before the first step [batch, hidden].
      kernel: W, [width, 3 * hidden].
      recurrent_kernel: R, [hidden, 3 * hidden].
      bias: b and d, [2, 3 * hidden].
      with_gradient: False leaves out what only the gradient needs; there is none
        then.
      matmul_dtype: type that matrices are multiplied in, see `precision`; None:
        their own.

    Returns:
      Outputs [time, batch, hidden], and h after the last step.
    """
    hidden = h.shape[1]

    def forward(inputs, h, kernel, recurrent_kernel, bias, saves):
        factor = cast(recurrent_kernel, matmul_dtype)

        def step(h, p):
            u = tf.nn.bias_add(matmul(h, factor), bias[1])
            z, r = tf.split(tf.sigmoid((p + u)[:, : 2 * hidden]), 2, axis=1)
            u_g = u[:, 2 * hidden :]
            g = tf.tanh(p[:, 2 * hidden :] + r * u_g)
            h = z * h + (1.0 - z) * g
            return h, (h, z, r, g, u_g) if saves else (h,)

        projected = _project(inputs, kernel, bias[0], matmul_dtype)
        h, results = scan(step, h, [projected], [hidden] * (5 if saves else 1))
        return results[0], h, results[1:]

    @tf.custom_gradient
    def run(inputs, h, kernel, recurrent_kernel, bias):
        outputs, last_h, saved = forward(
            inputs, h, kernel, recurrent_kernel, bias, True
        )

        def gradient(d_outputs, d_h):
            previous = _previous(h, outputs)
            z, _, g, _ = saved
            d_candidate = (1.0 - z) * (1.0 - g * g)  # of h by the argument of g's tanh
            factors = _gru_factors(unflatten(previous, outputs), d_candidate, *saved)
            transposed = cast(tf.transpose(recurrent_kernel), matmul_dtype)

            def step(d_h, d_output, factor, z):
                d_h += d_output
                du = tf.tile(d_h, [1, 3]) * factor
                return d_h * z + matmul(du, transposed), (d_h, du)

            d_first, (d_all, du) = scan(
                step, d_h, [d_outputs, factors, z], [hidden, 3 * hidden], reverse=True
            )
            dp = tf.concat([du[..., : 2 * hidden], d_all * d_candidate], axis=-1)
            d_inputs, d_kernel, d_bias = _projection_gradient(
                inputs, kernel, dp, matmul_dtype
            )
            du = flatten(du)
            d_recurrent = matmul(previous, cast(du, matmul_dtype), transpose_a=True)
            d_biases = tf.stack([d_bias, tf.reduce_sum(du, axis=0)])
            return d_inputs, d_first, d_kernel, d_recurrent, d_biases

        return (outputs, last_h), gradient

    arguments = (inputs, h, kernel, recurrent_kernel, bias)
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    return run(*arguments) if with_gradient else forward(*arguments, saves=False)[:2]


def _gru_factors(h, d_candidate, z, r, g, u_g):
    """What a step's gradient of h is multiplied by to give that of u, for all steps.

    The arguments are [time, batch, hidden], h that before the step; the result is
    [time, batch, 3 * hidden].
    """
    parts = [
        (h - g) * z * (1.0 - z),
        d_candidate * u_g * r * (1.0 - r),
        d_candidate * r,
    ]
    return tf.concat(parts, axis=-1)


def rnn_sequence(
    inputs: tf.Tensor,
    h: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    with_gradient: bool = True,
    matmul_dtype: str | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a simple recurrent layer over a sequence, with a hand-written gradient.

    Args:
      inputs: [time, batch, width].
      h: output before the first step [batch, hidden].
      kernel: W, [width, hidden].
      recurrent_kernel: R, [hidden, hidden].
      bias: b, [hidden].
      with_gradient: False: there is no gradient.
      matmul_dtype: as in `gru_sequence`.

    Returns:
      Outputs [time, batch, hidden], and h after the last step.
    """
    hidden = h.shape[1]

    def forward(inputs, h, kernel, recurrent_kernel, bias):
        factor = cast(recurrent_kernel, matmul_dtype)

        def step(h, p):
            h = tf.tanh(p + matmul(h, factor))
            return h, (h,)

        projected = _project(inputs, kernel, bias, matmul_dtype)
        h, (outputs,) = scan(step, h, [projected], [hidden])
        return outputs, h

    @tf.custom_gradient
    def run(inputs, h, kernel, recurrent_kernel, bias):
        outputs, last_h = forward(inputs, h, kernel, recurrent_kernel, bias)

        def gradient(d_outputs, d_h):
            transposed = cast(tf.transpose(recurrent_kernel), matmul_dtype)

            def step(d_h, d_output, factor):
                dp = (d_h + d_output) * factor
                return matmul(dp, transposed), (dp,)

            factors = 1.0 - outputs * outputs
            d_first, (dp,) = scan(
                step, d_h, [d_outputs, factors], [hidden], reverse=True
            )
            d_inputs, d_kernel, d_bias = _projection_gradient(
                inputs, kernel, dp, matmul_dtype
            )
            d_recurrent = matmul(
                _previous(h, outputs), cast(flatten(dp), matmul_dtype), transpose_a=True
            )
            return d_inputs, d_first, d_kernel, d_recurrent, d_bias

        return (outputs, last_h), gradient

    arguments = (inputs, h, kernel, recurrent_kernel, bias)
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    return run(*arguments) if with_gradient else forward(*arguments)


@keras.saving.register_keras_serializable("ptb_lm")
class GRU(FusedLayer, keras.layers.GRU):
    """Drop-in `keras.layers.GRU`: same arguments, weights, outputs and saving."""

    def _fused(self, inputs, state, with_gradient=True):
        cell = self.cell
        bias = (
            cell.bias if self.use_bias else tf.zeros([2, 3 * self.units], inputs.dtype)
        )
        return gru_sequence(
            inputs,
            *state,
            cell.kernel,
            cell.recurrent_kernel,
            bias,
            with_gradient=with_gradient,
            matmul_dtype=self.matmul_dtype,
        )

    def _has_kernel(self) -> bool:
        is_standard = self.recurrent_activation is keras.activations.sigmoid
        return super()._has_kernel() and self.reset_after and is_standard


@keras.saving.register_keras_serializable("ptb_lm")
class SimpleRNN(FusedLayer, keras.layers.SimpleRNN):
    """Drop-in `keras.layers.SimpleRNN`, as `GRU` is."""

    def _fused(self, inputs, state, with_gradient=True):
        cell = self.cell
        bias = cell.bias if self.use_bias else tf.zeros([self.units], inputs.dtype)
        return rnn_sequence(
            inputs,
            *state,
            cell.kernel,
            cell.recurrent_kernel,
            bias,
            with_gradient=with_gradient,
            matmul_dtype=self.matmul_dtype,
        )
