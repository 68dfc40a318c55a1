"""What this project's recurrent layers share: a Keras layer with a kernel.

A layer inherits from `FusedLayer` first, and then from its Keras class, and sets its
kernel. Its cell is a `FusedCell`.
"""

from typing import Any

import keras
import tensorflow as tf

from ptb_lm.model.cell import Cell, Layer, LayerOptions, run_keras_loop
from ptb_lm.model.sequence import CellKernel, run_sequence

RNN_MODES = ("auto", "fused", "keras")

# For type checkers: what a mixin calls on itself, and above, is the Keras layer's.
_KerasLayer: Any = object


class FusedLayer(_KerasLayer):
    """A recurrent Keras layer that runs this project's kernel when it can.

    With rnn_mode="auto", the kernel runs a call without a mask, with the standard
    activations, without the layer's own dropout, and without a GPU, where Keras uses
    cuDNN. Keras's own loop runs all other calls.

    Attributes:
      cell_kernel: the kernel; a subclass sets it.
    """

    cell_kernel: CellKernel

    def __init__(
        self,
        units: int,
        rnn_mode: str = "auto",
        matmul_dtype: str | None = None,
        **kwargs: Any,
    ):
        """Takes the arguments of the Keras layer, and the kernel to use.

        Args:
          units: width of the output and of the state.
          rnn_mode: "auto" chooses as above; "fused" is this project's kernel on any
            device; "keras" is Keras's own loop, or cuDNN on a GPU.
          matmul_dtype: "bfloat16" multiplies matrices in that type, in the fused
            kernel; None: in the layer's own.
          **kwargs: of the Keras layer.

        Raises:
          ValueError: another rnn_mode; when called, a "fused" layer that the
            kernel cannot compute.
        """
        super().__init__(units, **kwargs)
        if rnn_mode not in RNN_MODES:
            raise ValueError(f"rnn_mode={rnn_mode!r}: expected one of {RNN_MODES}")
        self.rnn_mode = rnn_mode
        self.matmul_dtype = matmul_dtype

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for Keras saving."""
        return super().get_config() | {
            "rnn_mode": self.rnn_mode,
            "matmul_dtype": self.matmul_dtype,
        }

    def run_time_major(
        self, inputs: tf.Tensor, state: list[tf.Tensor], with_gradient: bool = True
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Runs without transposing; arguments and results as of `Cell.run`."""
        if self._is_fused(mask=None, training=False):
            return self._fused(inputs, state, with_gradient)
        return run_keras_loop(self, inputs, state)

    def inner_loop(
        self,
        sequences: tf.Tensor,
        initial_state: Any,
        mask: tf.Tensor | None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Overrides the loop that Keras calls once the state is set up.

        Args:
          sequences: [batch, time, width].
          initial_state: the parts of the state, each [batch, units].
          mask: [batch, time] or None.
          training: whether the layer's own dropout applies.

        Returns:
          Last output, outputs [batch, time, units], and the final state.
        """
        if not self._is_fused(mask, training):
            return super().inner_loop(sequences, initial_state, mask, training)
        inputs = tf.transpose(sequences, [1, 0, 2])
        if self.go_backwards:
            inputs = tf.reverse(inputs, axis=[0])
        outputs, state = self._fused(inputs, tf.nest.flatten(initial_state))
        return state[0], tf.transpose(outputs, [1, 0, 2]), state

    def _fused(
        self, inputs: tf.Tensor, state: list[tf.Tensor], with_gradient: bool = True
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Runs the kernel with this layer's weights: outputs, and the final state."""
        cell = self.cell
        return run_sequence(
            self.cell_kernel,
            inputs,
            state,
            cell.kernel,
            cell.recurrent_kernel,
            cell.bias if self.use_bias else self._zero_bias(),
            with_gradient=with_gradient,
            matmul_dtype=self.matmul_dtype,
        )

    def _zero_bias(self) -> tf.Tensor:
        """What stands for the bias of a layer that has none."""
        kernel = tf.convert_to_tensor(self.cell.kernel)
        zeros = tf.zeros(kernel.shape[1:], kernel.dtype)
        return tf.stack([zeros] * 2) if self.cell_kernel.recurrent_bias else zeros

    def _has_kernel(self) -> bool:
        """Whether the kernel computes this kind of layer, by its arguments."""
        sigmoid = keras.activations.sigmoid
        return (
            self.activation is keras.activations.tanh
            # The simple layer has no gates.
            and getattr(self, "recurrent_activation", sigmoid) is sigmoid
            and not self.recurrent_dropout
        )

    def _is_fused(self, mask: tf.Tensor | None, training: bool) -> bool:
        """Whether the fused kernel is to compute this call."""
        if self.rnn_mode == "keras":
            return False
        able = mask is None and self._has_kernel() and not (training and self.dropout)
        if self.rnn_mode == "fused" and not able:
            raise ValueError(
                "rnn_mode='fused' has no masks, no dropout of the layer's own, and"
                " only the standard activations; use rnn_mode='auto'"
            )
        return able and (
            self.rnn_mode == "fused" or not tf.config.get_visible_devices("GPU")
        )


class FusedCell(Cell):
    """A cell whose layer is a `FusedLayer`.

    It derives the number of parameters and the memory from the kernel.
    """

    # The four gates, h and c of an LSTM; the other cells are counted like it.
    kept_per_unit = 6

    def __init__(self, layer_class: type[FusedLayer], *state_names: str):
        """Joins a layer and the names of its state's parts."""
        self.layer_class = layer_class
        self.cell_kernel = layer_class.cell_kernel
        self.state_names = state_names

    def make_layer(self, units: int, name: str, options: LayerOptions) -> Layer:
        """See `Cell.make_layer`."""
        return self.layer_class(
            units,
            rnn_mode=options.rnn_mode,
            matmul_dtype=options.matmul_dtype,
            kernel_initializer=options.initializer(),
            recurrent_initializer=options.initializer(),
            return_sequences=True,
            return_state=True,
            name=name,
            **self.bias_arguments(units, options),
        )

    def bias_arguments(self, units: int, options: LayerOptions) -> dict[str, Any]:
        """Arguments of the layer for its bias; by default it starts at zero."""
        return {}

    def parameters(self, width: int, units: int) -> int:
        """See `Cell.parameters`."""
        rows = width + units + (2 if self.cell_kernel.recurrent_bias else 1)
        return rows * self.cell_kernel.gates * units

    def multiply_adds(self, width: int, units: int) -> int:
        """See `Cell.multiply_adds`."""
        return (width + units) * self.cell_kernel.gates * units

    def kept_floats(self, units: int) -> int:
        """See `Cell.kept_floats`."""
        return self.kept_per_unit * units

    def run(
        self,
        layer: Layer,
        inputs: tf.Tensor,
        state: list[tf.Tensor],
        with_gradient: bool = True,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """See `Cell.run`."""
        return layer.run_time_major(inputs, state, with_gradient)
