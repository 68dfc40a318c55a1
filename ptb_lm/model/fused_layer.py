"""What the recurrent layers share: Keras's layers, run by this project's kernels.

A layer inherits `FusedLayer` before its Keras class, and gives it a kernel.
"""

from typing import Any

import keras
import tensorflow as tf

RNN_MODES = ("auto", "fused", "keras")


class FusedLayer:
    """A recurrent Keras layer with a kernel that it runs where it can.

    The kernel runs where it computes what was asked for: no mask, the standard
    activations, no dropout of the layer's own; and no GPU, where Keras uses cuDNN.
    Everything else is Keras's own loop.
    """

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

    def get_config(self) -> dict:
        """Constructor arguments, for Keras saving."""
        return super().get_config() | {
            "rnn_mode": self.rnn_mode,
            "matmul_dtype": self.matmul_dtype,
        }

    def run_time_major(
        self, inputs: tf.Tensor, state: list[tf.Tensor], with_gradient: bool = True
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Runs without transposing: [time, batch, width] -> [time, batch, units].

        Args:
          inputs: [time, batch, width].
          state: [h, c] of an LSTM, [h] of other cells, each [batch, units].
          with_gradient: False spares what only the gradient needs.

        Returns:
          Outputs of all steps, and the final state.
        """
        if self._is_fused(mask=None, training=False):
            outputs, *state = self._fused(inputs, state, with_gradient)
            return outputs, state
        outputs, *state = super().call(tf.transpose(inputs, [1, 0, 2]), state)
        return tf.transpose(outputs, [1, 0, 2]), state

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Overrides the loop that Keras calls once the state is set up.

        Args:
          sequences: [batch, time, width].
          initial_state: [h, c] or [h], each [batch, units].
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
        outputs, *state = self._fused(inputs, tf.nest.flatten(initial_state))
        return state[0], tf.transpose(outputs, [1, 0, 2]), state

    def _fused(self, inputs, state, with_gradient=True) -> tuple[tf.Tensor, ...]:
        """The kernel with this layer's weights: outputs, and the final state."""
        cell = self.cell
        return self.sequence(
            inputs,
            *state,
            cell.kernel,
            cell.recurrent_kernel,
            cell.bias if self.use_bias else self._zero_bias(),
            with_gradient=with_gradient,
            matmul_dtype=self.matmul_dtype,
        )

    def _zero_bias(self) -> tf.Tensor:
        """What stands for the bias of a layer that has none."""
        kernel = tf.convert_to_tensor(self.cell.kernel)
        return tf.zeros(kernel.shape[1:], kernel.dtype)

    def _has_kernel(self) -> bool:
        """Whether the kernel computes this kind of layer, by its arguments."""
        sigmoid = keras.activations.sigmoid
        return (
            self.activation is keras.activations.tanh
            # The simple layer has no gates.
            and getattr(self, "recurrent_activation", sigmoid) is sigmoid
            and not self.recurrent_dropout
        )

    def _is_fused(self, mask, training) -> bool:
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
            self.rnn_mode == "fused" or not tf.config.list_physical_devices("GPU")
        )
