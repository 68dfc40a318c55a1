"""The LSTM layer: `keras.layers.LSTM` with a sequence kernel that is fast on a CPU.

    z_t = x_t W + h_{t-1} R + b = (i, f, g, o)
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

(Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; the
gates in the order that Keras stores them.) What is done before, in and after the
loop over time is said in `recurrence`.
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


def lstm_sequence(
    inputs: tf.Tensor,
    h: tf.Tensor,
    c: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    with_gradient: bool = True,
    matmul_dtype: str | None = None,
) -> tuple[tf.Tensor, ...]:
    """Runs an LSTM over a sequence, with a hand-written gradient.

    Args:
      inputs: [time, batch, width].
      h: output before the first step [batch, hidden].
      c: cell state before the first step [batch, hidden].
      kernel: W, [width, 4 * hidden].
      recurrent_kernel: R, [hidden, 4 * hidden].
      bias: b, [4 * hidden].
      with_gradient: False leaves out what only the gradient needs; there is none
        then.
      matmul_dtype: type that matrices are multiplied in, see `precision`; None:
        their own.

    Returns:
      Outputs [time, batch, hidden], and h and c after the last step.
    """
    hidden = h.shape[1]

    def forward(inputs, h, c, kernel, recurrent_kernel, bias, saves):
        kernels = gate_kernels(recurrent_kernel, 4, inputs.shape[0], matmul_dtype)

        def step(state, projected):
            h, c = state
            parts = tf.split(projected, 4, axis=1)
            z = zip(parts, state_products(h, kernels, 4), strict=True)
            return _cell([p + u for p, u in z], c, saves)

        projected = project(inputs, kernel, bias, matmul_dtype)
        widths = [hidden] * (7 if saves else 1)
        state, (outputs, *saved) = scan(step, (h, c), [projected], widths)
        return (stack(outputs), *state), kernels, saved

    @tf.custom_gradient
    def run(inputs, h, c, kernel, recurrent_kernel, bias):
        results, kernels, saved = forward(
            inputs, h, c, kernel, recurrent_kernel, bias, True
        )

        def gradient(d_outputs, d_h, d_c):
            # Laid out so that the loop multiplies by it as it stands.
            transposed = [tf.transpose(kernel) for kernel in kernels]

            def step(d_state, d_output, *saved):
                d_h, d_c = d_state
                dz, d_c = _cell_gradient(d_h + d_output, d_c, *saved)
                d_h = state_gradient(dz, transposed)
                return (d_h, d_c), (tf.concat(dz, axis=1),)

            d_state, (dz,) = scan(
                step, (d_h, d_c), [d_outputs, *saved], [4 * hidden], reverse=True
            )
            dz = stack(dz)
            d_inputs, d_kernel, d_bias = projection_gradient(
                inputs, kernel, dz, matmul_dtype
            )
            d_recurrent = recurrent_gradient(h, results[0], dz, matmul_dtype)
            return d_inputs, *d_state, d_kernel, d_recurrent, d_bias

        return results, gradient

    # Variables are read here and now: a stateful layer assigns to them before the
    # gradient is computed.
    arguments = (inputs, h, c, kernel, recurrent_kernel, bias)
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    return run(*arguments) if with_gradient else forward(*arguments, saves=False)[0]


def _cell(z, c, saves):
    """One step: z of the four gates, c -> (h, c), (h, and what is saved)."""
    i, f, g, o = z
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    next_c = f * c + i * g
    tanh_c = tf.tanh(next_c)
    h = o * tanh_c
    return (h, next_c), (h, i, f, g, o, tanh_c, c) if saves else (h,)


def _cell_gradient(d_h, d_c, i, f, g, o, tanh_c, c):
    """Gradients of a step's h and c -> those of z and of the c before it."""
    d_c += tanh_gradient(y=tanh_c, dy=d_h * o)
    dz = [
        sigmoid_gradient(y=i, dy=d_c * g),
        sigmoid_gradient(y=f, dy=d_c * c),
        tanh_gradient(y=g, dy=d_c * i),
        sigmoid_gradient(y=o, dy=d_h * tanh_c),
    ]
    return dz, d_c * f


@keras.saving.register_keras_serializable("ptb_lm")
class LSTM(FusedLayer, keras.layers.LSTM):
    """Drop-in `keras.layers.LSTM`: same arguments, weights, outputs and saving."""

    sequence = staticmethod(lstm_sequence)
