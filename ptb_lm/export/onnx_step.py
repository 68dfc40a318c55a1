"""A language model as one ONNX graph: the function `step` of the SavedModel."""

import onnx
from onnx import TensorProto, helper

from ptb_lm.errors import UserError
from ptb_lm.export.onnx_graph import Graph
from ptb_lm.export.onnx_layers import LAYERS
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
    write_layer = LAYERS.get(options.cell)
    if write_layer is None:
        raise UserError(
            f"--export_format=onnx: cannot express --cell={options.cell}, only"
            f" {', '.join(LAYERS)}"
        )
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
    _add_softmax(graph, model, sequence)
    scores = ["n", "t", model.vocab_size]
    return graph.finish(
        [_info("ids", TensorProto.INT32, "n", "t"), _state("state", layout)],
        [
            _info("log_probabilities", TensorProto.FLOAT, *scores),
            _state("next_state", layout),
        ],
    )


def _add_softmax(graph: Graph, model: LanguageModel, sequence: str) -> None:
    """Outputs of the last layer, [t, n, units] -> log_probabilities."""
    options = model.options
    shape = graph.add("Shape", ["ids"])
    shape = graph.add("Concat", [shape, graph.integers(model.vocab_size)], axis=0)
    features = graph.add("Transpose", [sequence], perm=[1, 0, 2])
    flat = graph.integers(-1, options.last_units)
    features = graph.add("Reshape", [features, flat])
    if model.projection is not None:
        features = graph.product(features, "projection")
    matrix = "embedding" if options.tied else "softmax_kernel"
    bias = graph.constant(graph.weight("softmax_bias"), "softmax_bias")
    logits = graph.product(features, matrix, bias, transposed=options.tied)
    scores = graph.add("LogSoftmax", [logits], axis=1)
    graph.add("Reshape", [scores, shape], ["log_probabilities"])


def _info(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def _state(name: str, layout: StateLayout) -> onnx.ValueInfoProto:
    """A state as an input or output."""
    return _info(name, TensorProto.FLOAT, "n", layout.width)
