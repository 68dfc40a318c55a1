"""A language model as one ONNX graph: the function `step` of the SavedModel."""

from typing import Any

import onnx
from onnx import TensorProto, helper

from ptb_lm.errors import UserError
from ptb_lm.export.onnx_graph import Graph
from ptb_lm.export.onnx_layers import LAYERS
from ptb_lm.export.onnx_softmaxes import SOFTMAXES
from ptb_lm.inference.state_layout import StateLayout
from ptb_lm.model.language_model import LanguageModel


def onnx_step(model: LanguageModel, int8: bool) -> bytes:
    """The file.

    The graph takes ids, int32 [n, t], and state, float32 [n, width], as `StateLayout`
    packs it; t is at least 1. It gives log_probabilities, float32 [n, t, vocabulary],
    of the token after each of the ids, in nats; and next_state [n, width].

    Args:
      model: the model.
      int8: whether its matrices are int8.

    Raises:
      UserError: ONNX cannot express the model, or one file cannot hold it.
    """
    options, layout = model.options, StateLayout(model)
    write_layer = _member(LAYERS, "cell", options.cell)
    write_softmax = _member(SOFTMAXES, "softmax", options.softmax)
    weights = {name: value.numpy() for name, value in model.named_variables().items()}
    graph = Graph(weights, int8)
    parts = [graph.new_name(part.name) for part in layout.parts]
    sizes = graph.integers(*(part.size for part in layout.parts))
    graph.add("Split", ["state", sizes], parts, axis=1)
    sequence = graph.rows("embedding", graph.add("Transpose", ["ids"], perm=[1, 0]))
    final = []
    for layer, of_layer in zip(model.recurrent_layers, model.state_parts, strict=True):
        state, parts = parts[: len(of_layer)], parts[len(of_layer) :]
        sequence, after = write_layer(graph, layer.name, sequence, state)
        final += after
    graph.add("Concat", final, ["next_state"], axis=1)
    features = graph.add("Transpose", [sequence], perm=[1, 0, 2])
    flat = graph.add("Reshape", [features, graph.integers(-1, options.last_units)])
    shape = graph.add("Shape", ["ids"])
    shape = graph.add("Concat", [shape, graph.integers(model.vocab_size)], axis=0)
    scores = write_softmax(graph, flat, options)
    graph.add("Reshape", [scores, shape], ["log_probabilities"])
    return graph.finish(
        [_info("ids", TensorProto.INT32, "n", "t"), _state("state", layout)],
        [
            _info("log_probabilities", TensorProto.FLOAT, "n", "t", model.vocab_size),
            _state("next_state", layout),
        ],
    )


def _member(table: dict[str, Any], option: str, name: str) -> Any:
    """How ONNX expresses a component; UserError if it cannot."""
    if name not in table:
        raise UserError(
            f"--export_format=onnx: cannot express --{option}={name}, only"
            f" {', '.join(table)}"
        )
    return table[name]


def _info(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def _state(name: str, layout: StateLayout) -> onnx.ValueInfoProto:
    """A state as an input or output."""
    return _info(name, TensorProto.FLOAT, "n", layout.width)
