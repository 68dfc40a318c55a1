"""Each softmax as nodes of an ONNX graph, see `ptb_lm.model.softmax`."""

from collections.abc import Callable

from ptb_lm.config import ModelConfig
from ptb_lm.export.onnx_graph import Graph

# (graph, outputs of the last layer [m, units], options of the model)
# -> log-probabilities [m, vocabulary]
WriteSoftmax = Callable[[Graph, str, ModelConfig], str]


def _full(graph: Graph, features: str, options: ModelConfig) -> str:
    """One softmax; where it is tied, its matrix is the embedding, transposed."""
    if options.projects:
        features = graph.product(features, "projection")
    matrix = "embedding" if options.tied else "softmax_kernel"
    return _log_softmax(graph, features, matrix, "softmax_bias", options.tied)


def _adaptive(graph: Graph, features: str, options: ModelConfig) -> str:
    """A head, and a tail for each cluster, to which the head gives its share."""
    head = _log_softmax(graph, features, "softmax_kernel", "softmax_bias")
    clusters = [
        name.removesuffix("_projection")
        for name in graph.names
        if name.startswith("cluster_") and name.endswith("_projection")
    ]
    frequent = len(graph.weight("softmax_bias")) - len(clusters)
    parts = [graph.new_name("frequent"), *map(graph.new_name, clusters)]
    sizes = graph.integers(frequent, *[1] * len(clusters))
    graph.add("Split", [head, sizes], parts, axis=1)
    for place, cluster in enumerate(clusters, start=1):
        reduced = graph.product(features, f"{cluster}_projection")
        tail = _log_softmax(graph, reduced, f"{cluster}_kernel", f"{cluster}_bias")
        parts[place] = graph.add("Add", [tail, parts[place]])
    return graph.add("Concat", parts, axis=1)


def _log_softmax(
    graph: Graph, features: str, matrix: str, bias: str, transposed: bool = False
) -> str:
    """The logarithm of softmax(x W + b), of weights by their names."""
    stored = graph.constant(graph.weight(bias), bias)
    logits = graph.product(features, matrix, stored, transposed)
    return graph.add("LogSoftmax", [logits], axis=1)


SOFTMAXES: dict[str, WriteSoftmax] = {
    "full": _full,
    "sampled": _full,  # only its training is another
    "adaptive": _adaptive,
}
