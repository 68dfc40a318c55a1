"""What a recurrent cell is: one object that tells the model all it needs.

The members of the registry `CELLS` are instances of `Cell`. Each cell of the project is
in the file of its layer (lstm.py, gru.py, simple.py) and has a kernel. Another cell
needs none: Keras's own loop runs any `keras.layers.RNN`.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.registry import CELLS

# A keras.layers.RNN; Keras has no types.
Layer = Any


@dataclasses.dataclass(frozen=True)
class LayerOptions:
    """The options that a model gives to all its layers; a cell takes what it needs.

    Attributes:
      initializer: a function that returns a new initializer, with a seed of its own,
        for one weight matrix. A layer may call it once for each name in
        `Cell.weight_names`.
      forget_bias: initial bias of a forget gate.
      rnn_mode: "auto", "fused" or "keras", see `FusedLayer`.
      matmul_dtype: type that matrices are multiplied in; None: their own.
    """

    initializer: Callable[[], Any]
    forget_bias: float = 0.0
    rnn_mode: str = "auto"
    matmul_dtype: str | None = None


class Cell(abc.ABC):
    """A kind of recurrent layer.

    Attributes:
      state_names: the parts of a layer's state, in the layer's order. Checkpoints
        name the carried state by them.
      weight_names: attributes of Keras's cell that hold the weights. Checkpoints
        name the weights by them.
      dropped_weight: which of them --keep_prob_recurrent drops, that by which the
        last output is multiplied; a cell that has none of this name has no such
        dropout.
      options: names of the options of `ModelConfig` that this cell reads and others
        may not.
    """

    state_names: tuple[str, ...] = ("h",)
    weight_names: tuple[str, ...] = ("kernel", "recurrent_kernel", "bias")
    dropped_weight: str = "recurrent_kernel"
    options: tuple[str, ...] = ()

    @abc.abstractmethod
    def make_layer(self, units: int, name: str, options: LayerOptions) -> Layer:
        """Makes a layer that returns its outputs of all time steps, and its state.

        The caller builds it.

        Args:
          units: width of the output.
          name: of the layer.
          options: of the model.
        """

    @abc.abstractmethod
    def parameters(self, width: int, units: int) -> int:
        """Number of parameters of a layer of `units` with inputs of this width."""

    @abc.abstractmethod
    def kept_floats(self, units: int) -> int:
        """Least number of floats per token that a layer keeps for the gradient."""

    def multiply_adds(self, width: int, units: int) -> int:
        """Multiply-adds of a layer's matrix products: per token, forward.

        One for each parameter, unless the cell says otherwise.
        """
        return self.parameters(width, units)

    def with_options(self, options: ModelConfig) -> "Cell":
        """The cell as a model has it, where options of the cell's own say more."""
        return self

    def state_sizes(self, units: int) -> tuple[int, ...]:
        """Width of each part of the state."""
        return (units,) * len(self.state_names)

    def state_parts(self, units: int) -> list[tuple[str, int]]:
        """Name and width of each part of the state."""
        return list(zip(self.state_names, self.state_sizes(units), strict=True))

    def named_weights(self, layer: Layer) -> dict[str, tf.Variable]:
        """The weights of a built layer, by the names that checkpoints use."""
        return {name: getattr(layer.cell, name).value for name in self.weight_names}

    def run(
        self,
        layer: Layer,
        inputs: tf.Tensor,
        state: list[tf.Tensor],
        with_gradient: bool = True,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Runs a layer over a sequence.

        Args:
          layer: made by `make_layer`, and built.
          inputs: [time, batch, width].
          state: before the first step, the parts [batch, size].
          with_gradient: False: nobody will ask for the gradient.

        Returns:
          Outputs of all steps [time, batch, units], and the final state.
        """
        return run_keras_loop(layer, inputs, state)


def cell_of(options: ModelConfig) -> Cell:
    """The cell of a model."""
    return CELLS[options.cell].with_options(options)


def run_keras_loop(
    layer: Layer, inputs: tf.Tensor, state: list[tf.Tensor]
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs a layer as Keras runs it; arguments and results as of `Cell.run`."""
    outputs, *state = layer.call(tf.transpose(inputs, [1, 0, 2]), state)
    return tf.transpose(outputs, [1, 0, 2]), state
