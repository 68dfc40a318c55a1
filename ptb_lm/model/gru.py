"""The GRU and the simple recurrent layer, with sequence kernels like the LSTM's.

    GRU (Cho et al. 2014, in the form that cuDNN and Keras compute):
        p_t = x_t W + b;  u_t = h_{t-1} R + d, each (z, r, g)
        z = sigmoid(p_z + u_z);  r = sigmoid(p_r + u_r);  g = tanh(p_g + r u_g)
        h_t = z h_{t-1} + (1 - z) g

    simple (Elman 1990):  h_t = tanh(x_t W + b + h_{t-1} R)

In the GRU the reset gate acts after the matrix product (Keras's reset_after), so
that a step is one product; Cho et al. have it before, which takes two, one after the
other, and is left to Keras. What is done before, in and after the loop over time is
said in `recurrence`.
"""

import keras
import tensorflow as tf

from ptb_lm.model.fused_layer import FusedLayer
from ptb_lm.model.recurrence import (
    gate_kernels,
    project,
    projection_gradient,
    recurrent_gradient,
    scan,
    sigmoid_gradient,
    stack,
    state_gradient,
    state_products,
    tanh_gradient,
)


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
        kernels = gate_kernels(recurrent_kernel, 3, inputs.shape[0], matmul_dtype)
        biases = tf.split(bias[1], 3)

        def step(h, p):
            products = zip(state_products(h, kernels, 3), biases, strict=True)
            u = [tf.nn.bias_add(product, bias) for product, bias in products]
            return _gru_cell(tf.split(p, 3, axis=1), u, h, saves)

        projected = project(inputs, kernel, bias[0], matmul_dtype)
        widths = [hidden] * (6 if saves else 1)
        last_h, (outputs, *saved) = scan(step, h, [projected], widths)
        return (stack(outputs), last_h), kernels, saved

    @tf.custom_gradient
    def run(inputs, h, kernel, recurrent_kernel, bias):
        results, kernels, saved = forward(
            inputs, h, kernel, recurrent_kernel, bias, True
        )

        def gradient(d_outputs, d_h):
            # Laid out so that the loop multiplies by it as it stands.
            transposed = [tf.transpose(kernel) for kernel in kernels]

            def step(d_h, d_output, *saved):
                d_h, du, dp_g = _gru_cell_gradient(d_h + d_output, *saved)
                d_h += state_gradient(du, transposed)
                return d_h, (tf.concat(du, axis=1), dp_g)

            d_first, (du, dp_g) = scan(
                step, d_h, [d_outputs, *saved], [3 * hidden, hidden], reverse=True
            )
            du, dp_g = stack(du), stack(dp_g)
            dp = tf.concat([du[..., : 2 * hidden], dp_g], axis=-1)
            d_inputs, d_kernel, d_bias = projection_gradient(
                inputs, kernel, dp, matmul_dtype
            )
            d_recurrent = recurrent_gradient(h, results[0], du, matmul_dtype)
            d_biases = tf.stack([d_bias, tf.reduce_sum(du, axis=[0, 1])])
            return d_inputs, d_first, d_kernel, d_recurrent, d_biases

        return results, gradient

    arguments = (inputs, h, kernel, recurrent_kernel, bias)
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    return run(*arguments) if with_gradient else forward(*arguments, saves=False)[0]


def _gru_cell(p, u, h, saves):
    """One step: p and u of the three gates, h -> h, (h, and what is saved)."""
    p_z, p_r, p_g = p
    u_z, u_r, u_g = u
    z, r = tf.sigmoid(p_z + u_z), tf.sigmoid(p_r + u_r)
    g = tf.tanh(p_g + r * u_g)
    next_h = g + z * (h - g)
    return next_h, (next_h, z, r, g, u_g, h) if saves else (next_h,)


def _gru_cell_gradient(d_h, z, r, g, u_g, h):
    """Gradient of a step's h -> its own part of that of the h before, of u, of p_g."""
    dp_g = tanh_gradient(y=g, dy=d_h - d_h * z)
    du = [
        sigmoid_gradient(y=z, dy=d_h * (h - g)),
        sigmoid_gradient(y=r, dy=dp_g * u_g),
        dp_g * r,
    ]
    return d_h * z, du, dp_g


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
        kernels = gate_kernels(recurrent_kernel, 1, inputs.shape[0], matmul_dtype)

        def step(h, p):
            h = tf.tanh(p + state_products(h, kernels, 1)[0])
            return h, (h,)

        projected = project(inputs, kernel, bias, matmul_dtype)
        last_h, (outputs,) = scan(step, h, [projected], [hidden])
        return (stack(outputs), last_h), kernels, outputs

    @tf.custom_gradient
    def run(inputs, h, kernel, recurrent_kernel, bias):
        results, kernels, saved = forward(inputs, h, kernel, recurrent_kernel, bias)

        def gradient(d_outputs, d_h):
            # Laid out so that the loop multiplies by it as it stands.
            transposed = [tf.transpose(kernel) for kernel in kernels]

            def step(d_h, d_output, output):
                dp = tanh_gradient(y=output, dy=d_h + d_output)
                return state_gradient([dp], transposed), (dp,)

            d_first, (dp,) = scan(step, d_h, [d_outputs, saved], [hidden], reverse=True)
            dp = stack(dp)
            d_inputs, d_kernel, d_bias = projection_gradient(
                inputs, kernel, dp, matmul_dtype
            )
            d_recurrent = recurrent_gradient(h, results[0], dp, matmul_dtype)
            return d_inputs, d_first, d_kernel, d_recurrent, d_bias

        return results, gradient

    arguments = (inputs, h, kernel, recurrent_kernel, bias)
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    return run(*arguments) if with_gradient else forward(*arguments)[0]


@keras.saving.register_keras_serializable("ptb_lm")
class GRU(FusedLayer, keras.layers.GRU):
    """Drop-in `keras.layers.GRU`: same arguments, weights, outputs and saving."""

    sequence = staticmethod(gru_sequence)

    def _zero_bias(self):
        return tf.stack([super()._zero_bias()] * 2)

    def _has_kernel(self):
        return super()._has_kernel() and self.reset_after


@keras.saving.register_keras_serializable("ptb_lm")
class SimpleRNN(FusedLayer, keras.layers.SimpleRNN):
    """Drop-in `keras.layers.SimpleRNN`, as `GRU` is."""

    sequence = staticmethod(rnn_sequence)
