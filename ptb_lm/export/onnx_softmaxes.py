"""Each softmax as nodes of an ONNX graph, see `ptb_lm.model.softmax`."""

from collections.abc import Callable

from ptb_lm.config import ModelConfig
from ptb_lm.export.onnx_graph import Graph

# (graph, outputs of the last layer [m, units], options of the model)
# -> log-probabilities [m, vocabulary]
WriteSoftmax = Callable[[Graph, str, ModelConfig], str]


def _full(graph: Graph, features: str, options: ModelConfig) -> str:
    """One softmax; where it is tied, its matrix is the embedding, transposed."""
    features = _projected(graph, features, options)
    matrix = "embedding" if options.tied else "softmax_kernel"
    bias = _bias(graph, "softmax_bias")
    logits = graph.product(features, matrix, bias, options.tied)
    return graph.add("LogSoftmax", [logits], axis=1)


def _adaptive(graph: Graph, features: str, options: ModelConfig) -> str:
    """A head, and a tail for each cluster, to which the head gives its share."""
    features = _projected(graph, features, options)
    tails = [
        name.removesuffix("_bias")
        for name in graph.names
        if name.startswith("cluster_") and name.endswith("_bias")
    ]
    frequent = len(graph.weight("softmax_bias")) - len(tails)
    if options.tied:
        logits = _tied_logits(graph, features, tails, frequent)
    else:
        logits = _untied_logits(graph, features, tails)
    head, *rest = [graph.add("LogSoftmax", [each], axis=1) for each in logits]
    parts = _split(graph, head, [frequent, *[1] * len(tails)])
    for place, tail in enumerate(rest, start=1):
        parts[place] = graph.add("Add", [tail, parts[place]])
    return graph.add("Concat", parts, axis=1)


def _untied_logits(graph: Graph, features: str, tails: list[str]) -> list[str]:
    """Logits of the head and of each tail, which has a projection."""
    bias = _bias(graph, "softmax_bias")
    logits = [graph.product(features, "softmax_kernel", bias)]
    for tail in tails:
        reduced = graph.product(features, f"{tail}_projection")
        bias = _bias(graph, f"{tail}_bias")
        logits.append(graph.product(reduced, f"{tail}_kernel", bias))
    return logits


def _tied_logits(
    graph: Graph, features: str, tails: list[str], frequent: int
) -> list[str]:
    """Logits of the head and of each tail, all by the rows of the embedding."""
    biases = [f"{tail}_bias" for tail in tails]
    sizes = [frequent, *(len(graph.weight(bias)) for bias in biases)]
    products = graph.product(features, "embedding", transposed=True)
    logits = _split(graph, products, sizes)
    if tails:
        clusters = graph.product(features, "cluster_rows", transposed=True)
        logits[0] = graph.add("Concat", [logits[0], clusters], axis=1)
    return [
        graph.add("Add", [each, _bias(graph, bias)])
        for each, bias in zip(logits, ["softmax_bias", *biases], strict=True)
    ]


def _projected(graph: Graph, features: str, options: ModelConfig) -> str:
    """The features in the width that the softmax reads."""
    return graph.product(features, "projection") if options.projects else features


def _bias(graph: Graph, name: str) -> str:
    """A bias as a constant of its name."""
    return graph.constant(graph.weight(name), name)


def _split(graph: Graph, columns: str, sizes: list[int]) -> list[str]:
    """The columns in parts."""
    parts = [graph.new_name("part") for _ in sizes]
    graph.add("Split", [columns, graph.integers(*sizes)], parts, axis=1)
    return parts


SOFTMAXES: dict[str, WriteSoftmax] = {
    "full": _full,
    "sampled": _full,  # only its training is another
    "adaptive": _adaptive,
}
