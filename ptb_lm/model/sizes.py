"""The sizes of a model, known before it is made."""

import itertools
from collections import Counter

from ptb_lm.config import ModelConfig
from ptb_lm.model.cell import cell_of
from ptb_lm.model.softmax import softmax_of


def count_parameters(model: ModelConfig, vocab_size: int) -> int:
    """Number of parameters of a model that need not be made."""
    cell = cell_of(model)
    layers = sum(
        cell.parameters(*shape) * n for shape, n in layer_shapes(model).items()
    )
    embedding = vocab_size * model.embedding_width
    return embedding + layers + softmax_of(model).parameters(model, vocab_size)


def layer_shapes(model: ModelConfig) -> Counter[tuple[int, int]]:
    """(Width of the inputs, units) -> number of layers of this shape."""
    width, hidden = model.embedding_width, model.hidden_size
    if model.layer_sizes:
        return Counter(itertools.pairwise([width, *model.layer_units]))
    # Not layer by layer: there may be more of them than a list can hold.
    layers = Counter({(width, hidden): 1})
    layers[hidden, hidden] += model.num_layers - 1
    return layers
