"""The LSTM layer: `keras.layers.LSTM` with a sequence kernel that is fast on a CPU.

    z_t = x_t W + h_{t-1} R + b = (i, f, g, o)
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

(Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; the
gates in the order that Keras stores them.) The inputs of all steps are
projected in one product before the loop, so that only h_{t-1} R is left inside;
in the gradient, what needs no gradient itself is computed for all steps before the
loop, dz of all steps is collected in it, and each weight's gradient is one product
after it.
"""

import keras
import tensorflow as tf

from ptb_lm.fused_layer import FusedLayer, flatten, unflatten
from ptb_lm.precision import cast, matmul

# Sequences of a known length up to this are unrolled: no loop machinery, and
# the layers of a stack overlap in time. Longer ones would take long to trace.
MAX_UNROLLED_STEPS = 128

Tensors = tuple[tf.Tensor, ...]


def lstm_sequence(
    inputs: tf.Tensor,
    h: tf.Tensor,
    c: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    with_gradient: bool = True,
    matmul_dtype: str | None = None,
) -> Tensors:
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
    steps = inputs.shape[0]
    unroll = steps is not None and steps <= MAX_UNROLLED_STEPS
    forward = _forward_unrolled if unroll else _forward_loop
    backward = _backward_unrolled if unroll else _backward_loop

    def project(inputs, kernel, bias):
        projected = tf.nn.bias_add(
            matmul(flatten(inputs), cast(kernel, matmul_dtype)), bias
        )
        return unflatten(projected, inputs)  # [time, batch, 4 * hidden]

    @tf.custom_gradient
    def run(inputs, h, c, kernel, recurrent_kernel, bias):
        projected = project(inputs, kernel, bias)
        saved, outputs, last_h, last_c = forward(
            projected, h, c, cast(recurrent_kernel, matmul_dtype)
        )

        def gradient(d_outputs, d_h, d_c):
            # Laid out so that the loop multiplies by it as it stands.
            transposed = cast(tf.transpose(recurrent_kernel), matmul_dtype)
            dz, d_h, d_c = backward(saved, d_outputs, d_h, d_c, transposed)
            dz = flatten(dz)
            factor = cast(dz, matmul_dtype)
            flat_inputs = flatten(inputs)  # [time * batch, width]
            d_inputs = unflatten(matmul(factor, kernel, transpose_b=True), inputs)
            previous_h = flatten(tf.concat([h[None], outputs[:-1]], axis=0))
            return (
                d_inputs,
                d_h,
                d_c,
                matmul(flat_inputs, factor, transpose_a=True),
                matmul(previous_h, factor, transpose_a=True),
                tf.reduce_sum(dz, axis=0),
            )

        return (outputs, last_h, last_c), gradient

    # Variables are read here and now: a stateful layer assigns to them before the
    # gradient is computed.
    arguments = (inputs, h, c, kernel, recurrent_kernel, bias)
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    if with_gradient:
        return run(*arguments)
    inputs, h, c, kernel, recurrent_kernel, bias = arguments
    projected = project(inputs, kernel, bias)
    _, *results = forward(
        projected, h, c, cast(recurrent_kernel, matmul_dtype), with_gradient=False
    )
    return tuple(results)


def _cell(z, c):
    """One step: z [batch, 4 * hidden], c -> (saved for the gradient), h, c."""
    i, f, g, o = tf.split(z, 4, axis=1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    next_c = f * c + i * g
    tanh_c = tf.tanh(next_c)
    return (i, f, g, o, tanh_c, c), o * tanh_c, next_c


def _gradient_factors(i, f, g, o, tanh_c, c):
    """What the gradient's recurrence multiplies by, for all steps at once.

    With d_c += d_h * second factor, the gradient of z is (d_c, d_c, d_c, d_h) * first
    factor. Neither depends on a gradient, so both are computed outside the loop.

    The arguments are as `_cell` saves them, [..., hidden]; the factors are
    [..., 4 * hidden] and [..., hidden].
    """
    dz_factors = tf.concat(
        [
            g * (i * (1.0 - i)),
            c * (f * (1.0 - f)),
            i * (1.0 - g * g),
            tanh_c * (o * (1.0 - o)),
        ],
        axis=-1,
    )
    return dz_factors, o * (1.0 - tanh_c * tanh_c)


def _cell_gradient(dz_factor, dc_factor, f, d_h, d_c):
    """Gradients of one step's h and c -> those of z and of the previous c."""
    d_c = d_c + d_h * dc_factor
    dz = tf.concat([d_c, d_c, d_c, d_h], axis=1) * dz_factor
    return dz, d_c * f


def _forward_unrolled(projected, h, c, recurrent_kernel, with_gradient=True):
    """-> per step what the gradient needs, outputs [time, batch, hidden], h, c."""
    saved, outputs = [], []
    for z in tf.unstack(projected):
        step_saved, h, c = _cell(z + matmul(h, recurrent_kernel), c)
        saved.append(step_saved)
        outputs.append(h)
    return saved, tf.stack(outputs), h, c


def _backward_unrolled(saved, d_outputs, d_h, d_c, transposed):
    """-> dz [time, batch, 4 * hidden], and gradients of the initial h and c."""
    stacked = [tf.stack(values) for values in zip(*saved, strict=True)]
    steps = zip(
        *(tf.unstack(factors)[::-1] for factors in _gradient_factors(*stacked)),
        (step_saved[1] for step_saved in reversed(saved)),
        tf.unstack(d_outputs)[::-1],
        strict=True,
    )
    dzs = []
    for dz_factor, dc_factor, f, d_output in steps:
        dz, d_c = _cell_gradient(dz_factor, dc_factor, f, d_h + d_output, d_c)
        d_h = matmul(dz, transposed)
        dzs.append(dz)
    return tf.stack(dzs[::-1]), d_h, d_c


def _forward_loop(projected, h, c, recurrent_kernel, with_gradient=True):
    """As `_forward_unrolled`, for any number of steps."""
    steps = tf.shape(projected)[0]
    inputs = tf.TensorArray(projected.dtype, steps).unstack(projected)
    arrays = tuple(
        tf.TensorArray(projected.dtype, steps, element_shape=h.shape)
        for _ in range(7 if with_gradient else 1)
    )

    def body(step, h, c, arrays):
        z = inputs.read(step) + matmul(h, recurrent_kernel)
        saved, h, c = _cell(z, c)
        values = (*saved, h) if with_gradient else (h,)
        return (
            step + 1,
            h,
            c,
            tuple(a.write(step, v) for a, v in zip(arrays, values, strict=True)),
        )

    _, h, c, arrays = tf.while_loop(
        lambda step, *_: step < steps, body, (0, h, c, arrays), parallel_iterations=1
    )
    *saved, outputs = (array.stack() for array in arrays)
    return saved, outputs, h, c


def _backward_loop(saved, d_outputs, d_h, d_c, transposed):
    """As `_backward_unrolled`, for any number of steps."""
    steps = tf.shape(d_outputs)[0]
    inputs = [
        tf.TensorArray(d_outputs.dtype, steps).unstack(values)
        for values in (*_gradient_factors(*saved), saved[1], d_outputs)
    ]
    dzs = tf.TensorArray(d_outputs.dtype, steps)

    def body(step, d_h, d_c, dzs):
        dz_factor, dc_factor, f, d_output = (array.read(step) for array in inputs)
        dz, d_c = _cell_gradient(dz_factor, dc_factor, f, d_h + d_output, d_c)
        return step - 1, matmul(dz, transposed), d_c, dzs.write(step, dz)

    _, d_h, d_c, dzs = tf.while_loop(
        lambda step, *_: step >= 0,
        body,
        (steps - 1, d_h, d_c, dzs),
        parallel_iterations=1,
    )
    dz = dzs.stack()
    dz.set_shape([None, None, transposed.shape[0]])
    return dz, d_h, d_c


@keras.saving.register_keras_serializable("ptb_lm")
class LSTM(FusedLayer, keras.layers.LSTM):
    """Drop-in `keras.layers.LSTM`: same arguments, weights, outputs and saving."""

    def _fused(self, inputs, state, with_gradient=True) -> Tensors:
        """The kernel with this layer's weights."""
        cell = self.cell
        bias = cell.bias if self.use_bias else tf.zeros([4 * self.units], inputs.dtype)
        weights = cell.kernel, cell.recurrent_kernel, bias
        return lstm_sequence(
            inputs,
            *state,
            *weights,
            with_gradient=with_gradient,
            matmul_dtype=self.matmul_dtype,
        )

    def _has_kernel(self) -> bool:
        is_standard = self.recurrent_activation is keras.activations.sigmoid
        return super()._has_kernel() and is_standard
