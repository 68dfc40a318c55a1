"""The memory that training takes at least, known before the model is made."""

from ptb_lm.config import Config
from ptb_lm.model.cell import cell_of
from ptb_lm.model.sizes import count_parameters, layer_shapes
from ptb_lm.model.softmax import softmax_of
from ptb_lm.registry import AVERAGES, OPTIMIZERS
from ptb_lm.system.memory import check_fits

FLOAT_BYTES = 4


def training_bytes(
    config: Config,
    vocab_size: int,
    scored_tokens: int,
    local: int = 1,
    count: int = 1,
) -> int:
    """Bytes that training takes at least.

    Weights, optimizer slots, average and gradients (where the optimizer needs no
    dense one, that of an untied embedding has few rows, which are not counted), the
    gates and outputs of one step's layers, and what the softmax keeps of a step or,
    where that is larger, of a chunk of evaluation.

    Args:
      config: model, optimizer and batch.
      vocab_size: number of tokens in the vocabulary.
      scored_tokens: tokens in the largest chunk of evaluation.
      local: devices of this machine that share its memory; each has all weights.
      count: devices that share a batch.
    """
    model, training = config.model, config.training
    weights = count_parameters(model, vocab_size)
    optimizer = OPTIMIZERS[training.optimizer]
    slots = len(optimizer.slots) + AVERAGES[training.average].copies
    copies = weights * (2 + slots)
    if not (model.tied or optimizer.needs_dense(training)):
        copies -= vocab_size * model.embedding_width
    tokens = training.batch_size * training.num_steps * local // count
    cell = cell_of(model)
    kept = sum(
        cell.kept_floats(units) * n for (_, units), n in layer_shapes(model).items()
    )
    activations = tokens * (model.embedding_width + kept)
    scores = max(tokens, scored_tokens) * softmax_of(model).kept_floats(
        model, vocab_size
    )
    return FLOAT_BYTES * (copies * local + activations + scores)


def check_training(
    config: Config,
    vocab_size: int,
    scored_tokens: int,
    local: int = 1,
    count: int = 1,
) -> None:
    """Raises UserError where `training_bytes` are not to be had."""
    check_fits(
        training_bytes(config, vocab_size, scored_tokens, local, count),
        f"a model of {count_parameters(config.model, vocab_size):,} parameters",
        "try a smaller --hidden_size, --num_layers, --batch_size, --num_steps or"
        " --max_vocab_size",
    )
