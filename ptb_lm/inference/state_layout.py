"""A model's state as one tensor, whatever the sizes of its layers."""

import dataclasses

import tensorflow as tf

from ptb_lm.model.language_model import LanguageModel, State


@dataclasses.dataclass(frozen=True)
class StatePart:
    """One part of one layer's state.

    Attributes:
      layer: index of the layer, from 0.
      name: of the part, "h" or "c" of an LSTM.
      size: its width.
    """

    layer: int
    name: str
    size: int


class StateLayout:
    """Where each part of a state lies in a tensor float32 [n, width].

    All parts of all layers lie side by side along the last axis, in the order of
    `parts`. The width is the sum of their sizes.
    """

    def __init__(self, model: LanguageModel):
        """Lays out the state of a model."""
        layers = model.state_parts
        self.parts = [
            StatePart(layer, name, size)
            for layer, parts in enumerate(layers)
            for name, size in parts
        ]
        # Per layer a list with an entry for each part.
        self._structure = [[None] * len(parts) for parts in layers]

    @property
    def width(self) -> int:
        """Width of the tensor."""
        return sum(part.size for part in self.parts)

    def pack(self, state: State) -> tf.Tensor:
        """State of the model -> float32 [n, width]."""
        return tf.concat(tf.nest.flatten(state), axis=1)

    def unpack(self, packed: tf.Tensor) -> State:
        """Inverse of `pack`."""
        parts = tf.split(packed, [part.size for part in self.parts], axis=1)
        return tf.nest.pack_sequence_as(self._structure, parts)


def step(
    model: LanguageModel, layout: StateLayout, ids: tf.Tensor, state: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Reads tokens.

    Args:
      model: the model.
      layout: of its state.
      ids: int32 [n, t], t at least 1.
      state: before them, float32 [n, width].

    Returns:
      log_probabilities: of the token after each of them, in nats, float32
        [n, t, vocabulary].
      state: after them.
    """
    features, after = model.features(
        model.embed(tf.transpose(ids)), layout.unpack(state), with_gradient=False
    )
    scores = tf.nn.log_softmax(model.logits(tf.transpose(features, [1, 0, 2])))
    return {"log_probabilities": scores, "state": layout.pack(after)}
