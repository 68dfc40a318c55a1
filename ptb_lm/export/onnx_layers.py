"""The recurrent layers of each cell as nodes of an ONNX graph.

ONNX (https://onnx.ai/onnx/operators) has one operator for a whole sequence of an LSTM,
a GRU and a simple layer, time-major. Its weights have an axis for the direction, and
the gates one below the other: W [1, gates * units, width], R [1, gates * units, units],
B [1, 2 * gates * units], the biases of the inputs before those of the state.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ptb_lm.export.onnx_graph import MICROSOFT, Graph

# (graph, name of the layer, inputs [t, n, width], parts of the state [n, size])
# -> (outputs [t, n, units], parts of the state after them)
WriteLayer = Callable[[Graph, str, str, Sequence[str]], tuple[str, list[str]]]
LSTM_GATES = (0, 3, 1, 2)  # i, f, g, o of Keras as i, o, f, g of ONNX


def _lstm(
    graph: Graph, layer: str, inputs: str, state: Sequence[str]
) -> tuple[str, list[str]]:
    """An LSTM; of int8, in onnxruntime's own operator, which is faster."""
    if not graph.int8:
        return _standard(graph, "LSTM", layer, LSTM_GATES, inputs, state)
    weights, scales = [], []
    for name in (f"{layer}/kernel", f"{layer}/recurrent_kernel"):
        # Here the gates are side by side, [1, width, 4 * units].
        values = _in_order(graph.weight(name), LSTM_GATES)[None]
        integers, scale = graph.quantized(name, values, axis=2)
        zeros = graph.constant(np.zeros([1, values.shape[2]], np.int8))
        weights.append(integers)
        scales += [graph.add("Squeeze", [scale, graph.integers(1)]), zeros]
    weights.append(_bias(graph, layer, LSTM_GATES))
    return _sequence(
        graph,
        "DynamicQuantizeLSTM",
        [inputs, *weights, ""],
        state,
        ["", *scales],
        hidden_size=_units(graph, layer),
        domain=MICROSOFT,
    )


def _gru(
    graph: Graph, layer: str, inputs: str, state: Sequence[str]
) -> tuple[str, list[str]]:
    """A GRU whose reset gate acts after the product, as Keras's reset_after."""
    return _standard(
        graph, "GRU", layer, (0, 1, 2), inputs, state, linear_before_reset=1
    )


def _simple(
    graph: Graph, layer: str, inputs: str, state: Sequence[str]
) -> tuple[str, list[str]]:
    """A simple layer."""
    return _standard(graph, "RNN", layer, (0,), inputs, state)


def _mogrifier(
    graph: Graph, layer: str, inputs: str, state: Sequence[str]
) -> tuple[str, list[str]]:
    """A Mogrifier LSTM, see `ptb_lm.model.mogrifier`: a loop over one time step."""
    matrices = {
        name: graph.matrix(f"{layer}/{name}", graph.weight(f"{layer}/{name}"), axis=1)
        for name in graph.weights_of(layer)
        if name != "bias"
    }
    bias = graph.constant(graph.weight(f"{layer}/bias"), f"{layer}/bias")
    before = [graph.new_name(part) for part in ("h", "c", "x")]
    after = [graph.new_name(part) for part in ("next_h", "next_c", "output")]
    with graph.body() as nodes:
        _mogrifier_step(graph, matrices, bias, before, after)
    body = helper.make_graph(nodes, layer, _rows(before), _rows(after))
    final = [graph.new_name(part) for part in ("h", "c", "outputs")]
    graph.add("Scan", [*state, inputs], final, body=body, num_scan_inputs=1)
    return final[2], final[:2]


def _mogrifier_step(
    graph: Graph,
    matrices: dict[str, str],
    bias: str,
    before: Sequence[str],
    after: Sequence[str],
) -> None:
    """One time step.

    Args:
      graph: the graph, within the body.
      matrices: those of the layer by their names, the rounds in order: q_1 gates the
        input by the state, r_2 the state by the input. Where a round has two
        matrices, the first one's name ends in "_down".
      bias: of the gates i, f, g, o.
      before: h and c before the step, and the input; [n, size] each.
      after: names for h and c after the step, and for the output, which is h.
    """
    h, c, x = before
    two = graph.constant(np.array(2.0, np.float32))
    value = ""
    for name in [name for name in matrices if name[:2] in ("q_", "r_")]:
        by_state = name.startswith("q")
        value = graph.add("MatMul", [value or (h if by_state else x), matrices[name]])
        if name.endswith("_down"):
            continue
        gate = graph.add("Mul", [graph.add("Sigmoid", [value]), two])
        if by_state:
            x = graph.add("Mul", [gate, x])
        else:
            h = graph.add("Mul", [gate, h])
        value = ""
    products = [
        graph.add("MatMul", [x, matrices["kernel"]]),
        graph.add("MatMul", [h, matrices["recurrent_kernel"]]),
    ]
    z = graph.add("Add", [graph.add("Add", products), bias])
    gates = [graph.new_name(gate) for gate in "ifgo"]
    graph.add("Split", [z], gates, axis=1)
    i, f, o = (graph.add("Sigmoid", [gates[place]]) for place in (0, 1, 3))
    new = graph.add("Mul", [i, graph.add("Tanh", [gates[2]])])
    graph.add("Add", [graph.add("Mul", [f, c]), new], [after[1]])
    graph.add("Mul", [o, graph.add("Tanh", [after[1]])], [after[0]])
    graph.add("Identity", [after[0]], [after[2]])


def _standard(
    graph: Graph,
    operator: str,
    layer: str,
    order: tuple[int, ...],
    inputs: str,
    state: Sequence[str],
    **attributes: Any,
) -> tuple[str, list[str]]:
    """A layer in the standard operator of its cell."""
    weights = [
        graph.matrix(name, _in_order(graph.weight(name), order).T[None], axis=1)
        for name in (f"{layer}/kernel", f"{layer}/recurrent_kernel")
    ]
    weights.append(_bias(graph, layer, order))
    return _sequence(
        graph,
        operator,
        [inputs, *weights, ""],
        state,
        hidden_size=_units(graph, layer),
        **attributes,
    )


def _sequence(
    graph: Graph,
    operator: str,
    inputs: Sequence[str],
    state: Sequence[str],
    more: Sequence[str] = (),
    **attributes: Any,
) -> tuple[str, list[str]]:
    """A node that runs a whole sequence, without the axis of its directions.

    Args:
      graph: the graph.
      operator: the node's.
      inputs: those before the state.
      state: the parts, [n, size] each.
      more: the inputs after the state.
      **attributes: of the operator.
    """
    first, second = graph.integers(0), graph.integers(1)
    initial = [graph.add("Unsqueeze", [part, first]) for part in state]
    outputs = [graph.new_name(operator.lower()) for _ in range(1 + len(state))]
    graph.add(operator, [*inputs, *initial, *more], outputs, **attributes)
    sequence = graph.add("Squeeze", [outputs[0], second])
    return sequence, [graph.add("Squeeze", [part, first]) for part in outputs[1:]]


def _units(graph: Graph, layer: str) -> int:
    """Width of a layer's output."""
    return graph.weight(f"{layer}/recurrent_kernel").shape[0]


def _in_order(weight: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """The gates along the last axis in another order."""
    gates = np.split(weight, len(order), axis=-1)
    return np.concatenate([gates[place] for place in order], axis=-1)


def _bias(graph: Graph, layer: str, order: tuple[int, ...]) -> str:
    """B; a cell that has one bias of each gate adds it to the inputs."""
    bias = graph.weight(f"{layer}/bias")
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    return graph.constant(_in_order(both, order).reshape(1, -1), f"{layer}/bias")


def _rows(names: Sequence[str]) -> list[onnx.ValueInfoProto]:
    """Tensors of float32 [n, size]."""
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None])
        for name in names
    ]


LAYERS: dict[str, WriteLayer] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn": _simple,
    "mogrifier": _mogrifier,
}
