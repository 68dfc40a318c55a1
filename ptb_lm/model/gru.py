"""The GRU: `keras.layers.GRU` with a sequence kernel that is fast on a CPU.

    p_t = x_t W + b;  u_t = h_{t-1} R + d, each (z, r, g)
    z = sigmoid(p_z + u_z);  r = sigmoid(p_r + u_r);  g = tanh(p_g + r u_g)
    h_t = z h_{t-1} + (1 - z) g

(Cho et al. 2014, in the form that cuDNN and Keras compute; the gates in the order
that Keras stores them.) The reset gate r acts after the matrix product (Keras's
reset_after), so that a step is one product. Cho et al. have it before, which takes
two products, one after the other; that form is left to Keras's loop.
"""

import keras
import tensorflow as tf

from ptb_lm.model.fused_layer import FusedCell, FusedLayer
from ptb_lm.model.recurrence import sigmoid_gradient, tanh_gradient
from ptb_lm.model.sequence import CellKernel, Gates, StateParts


class GRUKernel(CellKernel):
    """The state is h; the reset gate stands between u_g and p_g."""

    gates = 3
    saved = 5
    recurrent_bias = True
    apart = 1

    def forward(
        self, state: StateParts, projected: Gates, products: Gates
    ) -> tuple[StateParts, tuple[tf.Tensor, ...]]:
        """See `CellKernel.forward`."""
        (h,) = state
        p_z, p_r, p_g = projected
        u_z, u_r, u_g = products
        z, r = tf.sigmoid(p_z + u_z), tf.sigmoid(p_r + u_r)
        g = tf.tanh(p_g + r * u_g)
        next_h = g + z * (h - g)
        return (next_h,), (z, r, g, u_g, h)

    def backward(
        self, d_state: StateParts, *saved: tf.Tensor
    ) -> tuple[tuple[tf.Tensor], Gates, Gates]:
        """See `CellKernel.backward`."""
        (d_h,) = d_state
        z, r, g, u_g, h = saved
        dp_g = tanh_gradient(y=g, dy=d_h - d_h * z)
        du = [
            sigmoid_gradient(y=z, dy=d_h * (h - g)),
            sigmoid_gradient(y=r, dy=dp_g * u_g),
            dp_g * r,
        ]
        return (d_h * z,), du, [dp_g]


@keras.saving.register_keras_serializable("ptb_lm")
class GRU(FusedLayer, keras.layers.GRU):
    """Drop-in `keras.layers.GRU`: same arguments, weights, outputs and saving."""

    cell_kernel = GRUKernel()

    def _has_kernel(self) -> bool:
        return super()._has_kernel() and self.reset_after


CELL = FusedCell(GRU, "h")
