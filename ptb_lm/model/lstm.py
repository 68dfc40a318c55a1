"""The LSTM: `keras.layers.LSTM` with a sequence kernel that is fast on a CPU.

    z_t = x_t W + h_{t-1} R + b = (i, f, g, o)
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

(Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; the
gates in the order that Keras stores them.)
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.model.cell import LayerOptions
from ptb_lm.model.fused_layer import FusedCell, FusedLayer
from ptb_lm.model.recurrence import sigmoid_gradient, tanh_gradient
from ptb_lm.model.sequence import CellKernel, Gates, StateParts


class LSTMKernel(CellKernel):
    """The state is h and c; all gates are z = p + u."""

    gates = 4
    saved = 6

    def forward(
        self, state: StateParts, projected: Gates, products: Gates
    ) -> tuple[StateParts, tuple[tf.Tensor, ...]]:
        """See `CellKernel.forward`."""
        _, c = state
        i, f, g, o = (p + u for p, u in zip(projected, products, strict=True))
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        next_c = f * c + i * g
        tanh_c = tf.tanh(next_c)
        h = o * tanh_c
        return (h, next_c), (i, f, g, o, tanh_c, c)

    def backward(
        self, d_state: StateParts, *saved: tf.Tensor
    ) -> tuple[tuple[None, tf.Tensor], Gates, Gates]:
        """See `CellKernel.backward`."""
        d_h, d_c = d_state
        i, f, g, o, tanh_c, c = saved
        d_c += tanh_gradient(y=tanh_c, dy=d_h * o)
        dz = [
            sigmoid_gradient(y=i, dy=d_c * g),
            sigmoid_gradient(y=f, dy=d_c * c),
            tanh_gradient(y=g, dy=d_c * i),
            sigmoid_gradient(y=o, dy=d_h * tanh_c),
        ]
        return (None, d_c * f), dz, []


@keras.saving.register_keras_serializable("ptb_lm")
class LSTM(FusedLayer, keras.layers.LSTM):
    """Drop-in `keras.layers.LSTM`: same arguments, weights, outputs and saving."""

    cell_kernel = LSTMKernel()


class FusedLSTMCell(FusedCell):
    """An LSTM's state is h and c; its forget gate has a bias of its own."""

    def bias_arguments(self, units: int, options: LayerOptions) -> dict[str, Any]:
        """See `FusedCell.bias_arguments`."""
        initializer = lstm_bias(units, options.forget_bias)
        return {"unit_forget_bias": False, "bias_initializer": initializer}


def lstm_bias(units: int, forget_bias: float) -> keras.Initializer:
    """Initial bias of the gates i, f, g, o, [4 units]: zero but for the second."""
    return keras.initializers.Constant(np.repeat([0.0, forget_bias, 0.0, 0.0], units))


CELL = FusedLSTMCell(LSTM, "h", "c")
