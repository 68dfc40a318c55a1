"""The simple recurrent layer: `keras.layers.SimpleRNN` with a sequence kernel.

    h_t = tanh(x_t W + b + h_{t-1} R)

(Elman 1990.)
"""

import keras
import tensorflow as tf

from ptb_lm.model.fused_layer import FusedCell, FusedLayer
from ptb_lm.model.recurrence import tanh_gradient
from ptb_lm.model.sequence import CellKernel, Gates, StateParts


class SimpleKernel(CellKernel):
    """The state is h; its gradient needs nothing but h."""

    gates = 1
    reads_output = True

    def forward(
        self, state: StateParts, projected: Gates, products: Gates
    ) -> tuple[StateParts, tuple[tf.Tensor, ...]]:
        """See `CellKernel.forward`."""
        return (tf.tanh(projected[0] + products[0]),), ()

    def backward(
        self, d_state: StateParts, *saved: tf.Tensor
    ) -> tuple[tuple[None], Gates, Gates]:
        """See `CellKernel.backward`."""
        (d_h,), (output,) = d_state, saved
        return (None,), [tanh_gradient(y=output, dy=d_h)], []


@keras.saving.register_keras_serializable("ptb_lm")
class SimpleRNN(FusedLayer, keras.layers.SimpleRNN):
    """Drop-in `keras.layers.SimpleRNN`: same arguments, weights, outputs, saving."""

    cell_kernel = SimpleKernel()


CELL = FusedCell(SimpleRNN, "h")
