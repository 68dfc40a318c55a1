"""What an ONNX graph is made of: weights, nodes, and the products of the two.

A matrix is stored as float32; or as int8, with a float32 scale for each of its rows or
columns, which is the largest magnitude there, divided by `LEVELS`.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ptb_lm import __version__
from ptb_lm.errors import UserError

# Of 2022. Newer ones would give nothing here, and shut out older runtimes.
OPSET, IR_VERSION = 17, 8
# Of onnxruntime, which alone has an LSTM whose products are of int8.
MICROSOFT = "com.microsoft"
# Not 127: without VNNI, x86 adds up pairs of products uint8 x int8 in 16 bits.
LEVELS = 63
MAX_BYTES = 2**31 - 1  # of one file: protobuf's limit


class Graph:
    """Nodes and weights, added one after the other; a tensor is known by its name.

    Attributes:
      int8: whether matrices are stored as int8.
      names: of the weights of the model.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], int8: bool):
        """Begins a graph with the weights of a model, by their names."""
        self.int8 = int8
        self.names = list(weights)
        self._weights = weights
        self._unused = set(weights)
        self._numbers = itertools.count()
        self._nodes: list[onnx.NodeProto] = []
        self._stored: dict[str, onnx.TensorProto] = {}

    def weight(self, name: str) -> np.ndarray:
        """A weight of the model."""
        self._unused.discard(name)
        return self._weights[name]

    def weights_of(self, layer: str) -> list[str]:
        """Names of a layer's weights, without the layer's."""
        start = f"{layer}/"
        names = [name for name in self.names if name.startswith(start)]
        return [name.removeprefix(start) for name in names]

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str] = (),
        **attributes: Any,
    ) -> str:
        """Adds a node.

        Args:
          operator: of ONNX, or with domain=MICROSOFT of onnxruntime.
          inputs: names of tensors; "" for an optional one that is not given.
          outputs: names of tensors; none: a new name.
          **attributes: of the operator.

        Returns:
          The name of the first output.
        """
        outputs = list(outputs) or [self.new_name(operator.lower())]
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, values: np.ndarray, name: str = "") -> str:
        """Stores an array as it is; returns its name."""
        name = name or self.new_name("constant")
        contiguous = np.ascontiguousarray(values)
        self._stored[name] = numpy_helper.from_array(contiguous, name)
        return name

    def integers(self, *values: int) -> str:
        """Stores int64 [len(values)]: the axes, sizes and shapes of operators."""
        return self.constant(np.array(values, np.int64))

    def quantized(self, name: str, values: np.ndarray, axis: int) -> tuple[str, str]:
        """Stores an array once as int8, with a scale for each entry of one axis.

        Returns:
          The names of the int8 array and of its scales, which have as many axes.
        """
        names = f"{name}/int8", f"{name}/scale"
        if names[0] not in self._stored:
            others = tuple(i for i in range(values.ndim) if i != axis)
            largest = np.abs(values).max(axis=others, keepdims=True)
            # A row of zeros has any scale.
            scale = np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32)
            self.constant(np.rint(values / scale).astype(np.int8), names[0])
            self.constant(scale, names[1])
        return names

    def matrix(self, name: str, values: np.ndarray, axis: int) -> str:
        """Stores an array; returns the name of what it is in float32.

        The two nodes that make int8 a float32 have constant inputs alone, so that a
        runtime can compute them once, when it reads the file.
        """
        if not self.int8:
            return self.constant(values, name)
        integers, scale = self.quantized(name, values, axis)
        real = self.add("Cast", [integers], to=TensorProto.FLOAT)
        return self.add("Mul", [real, scale])

    def rows(self, name: str, ids: str) -> str:
        """The rows of a weight [vocabulary, width]: ids [...] -> [..., width]."""
        values = self.weight(name)
        if not self.int8:
            return self.add("Gather", [self.constant(values, name), ids])
        integers, scale = (
            self.add("Gather", [stored, ids])
            for stored in self.quantized(name, values, axis=0)
        )
        real = self.add("Cast", [integers], to=TensorProto.FLOAT)
        return self.add("Mul", [real, scale])

    def product(
        self, factor: str, name: str, bias: str = "", transposed: bool = False
    ) -> str:
        """A product with a weight.

        Args:
          factor: [m, rows] of float32. Where the weight is int8, the factor becomes
            uint8, by the range of its values.
          name: of the weight [rows, columns].
          bias: of a vector [columns] to add; "": none.
          transposed: whether the weight is [columns, rows] instead.

        Returns:
          [m, columns].
        """
        values = self.weight(name)
        if not self.int8:
            matrix = self.constant(values, name)
            inputs = [factor, matrix, bias] if bias else [factor, matrix]
            return self.add("Gemm", inputs, transB=int(transposed))
        stored = self.quantized(name, values, axis=0 if transposed else 1)
        if transposed:
            first, second = stored
            stored = (
                self.add("Transpose", [first], perm=[1, 0]),
                self.add("Transpose", [second], perm=[1, 0]),
            )
        integers, scale = stored
        quantized = [self.new_name(part) for part in ("uint8", "scale", "zero")]
        self.add("DynamicQuantizeLinear", [factor], quantized)
        sums = self.add("MatMulInteger", [quantized[0], integers, quantized[2]])
        real = self.add("Cast", [sums], to=TensorProto.FLOAT)
        product = self.add("Mul", [real, self.add("Mul", [quantized[1], scale])])
        return self.add("Add", [product, bias]) if bias else product

    @contextlib.contextmanager
    def body(self) -> Iterator[list[onnx.NodeProto]]:
        """A list that takes the nodes added inside the block: the body of a loop.

        They may read what was added before the block.
        """
        outer, self._nodes = self._nodes, []
        try:
            yield self._nodes
        finally:
            self._nodes = outer

    def finish(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> bytes:
        """The file.

        Raises:
          UserError: a weight of the model is not in the graph, which is then of
            another model; or one file cannot hold all.
        """
        if self._unused:
            raise UserError(
                "--export_format=onnx: cannot express a model with the weight"
                f" {min(self._unused)}"
            )
        size = sum(len(tensor.raw_data) for tensor in self._stored.values())
        if size + 2**20 > MAX_BYTES:
            raise UserError(
                f"--export_format=onnx: the weights take {size:,} bytes; one file"
                f" holds {MAX_BYTES:,}"
            )
        graph = helper.make_graph(
            self._nodes, "step", inputs, outputs, list(self._stored.values())
        )
        domains = {node.domain for node in self._nodes} - {""}
        opsets = [helper.make_opsetid("", OPSET)]
        opsets += [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="ptb_lm",
            producer_version=__version__,
        )
        return model.SerializeToString()

    def new_name(self, name: str) -> str:
        """A name that no tensor has."""
        return f"{name}_{next(self._numbers)}"
