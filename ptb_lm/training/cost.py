"""What a training costs, in floating-point operations of its matrix products.

A multiplication and an addition are two operations, forward; backward, there are two
products of the same size, one for each factor's gradient. So a multiply-add costs 6
(Kaplan et al. 2020, section 2.1). Counted are the products in the layers, in the
projection and in the softmax; evaluation is not. A token of a model of n LSTM layers of
width h with V words costs 6 (8 n h^2 + h V).
"""

from ptb_lm.config import Config, ModelConfig
from ptb_lm.model.cell import cell_of
from ptb_lm.model.sizes import layer_shapes
from ptb_lm.model.softmax import softmax_of

FLOP_OF_A_MULTIPLY_ADD = 6


def token_flop(model: ModelConfig, vocab_size: int) -> int:
    """Operations of training on one token."""
    cell = cell_of(model)
    layers = sum(
        cell.multiply_adds(*shape) * count
        for shape, count in layer_shapes(model).items()
    )
    softmax = softmax_of(model).multiply_adds(model, vocab_size)
    return round(FLOP_OF_A_MULTIPLY_ADD * (layers + softmax))


def flop_of_equal_windows(config: Config, vocab_size: int, steps: int) -> int:
    """Operations of training for some steps of `num_steps` time steps each."""
    training = config.training
    tokens = steps * training.batch_size * training.num_steps
    return tokens * token_flop(config.model, vocab_size)
