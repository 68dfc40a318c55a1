"""Options of a training that exclude each other, or that nothing would read."""

import dataclasses

from ptb_lm.config import ModelConfig, TrainingConfig
from ptb_lm.data.windows import SHORTEST_LENGTH
from ptb_lm.errors import UserError
from ptb_lm.options import Validated, format_value
from ptb_lm.registry import (
    AVERAGES,
    CELLS,
    OPTIMIZERS,
    SCHEDULES,
    SOFTMAXES,
    Registry,
)

# Options that choose a member which says, in `options`, what others it reads.
READERS: dict[str, Registry] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "average": AVERAGES,
}


def check_model_options(model: ModelConfig) -> None:
    """Raises UserError where options of the model do not go together."""
    _check_readers(model, "cell", CELLS)
    _check_readers(model, "softmax", SOFTMAXES)
    if model.tied and model.softmax_reduction != ModelConfig.softmax_reduction:
        raise UserError(
            f"{_shown(model, 'softmax_reduction')} has no effect with"
            f" {_shown(model, 'tied')}: the clusters then have rows of the embedding,"
            " in its width"
        )


def check_training_options(training: TrainingConfig) -> None:
    """Raises UserError where options do not go together.

    An option that belongs to some optimizers, or to other members that are chosen by
    name, must have its default where another one is chosen.
    """
    for choice, members in READERS.items():
        _check_readers(training, choice, members)
    if training.window_lengths == "random":
        _check_random_lengths(training)
    if training.shuffle_sentences and training.windows == "random":
        raise UserError(
            f"{_shown(training, 'shuffle_sentences')} and"
            f" {_shown(training, 'windows')} exclude each other: pieces of the text"
            " have a random order already"
        )
    if training.schedule == "one_cycle" and not training.warmup:
        raise UserError(
            f"{_shown(training, 'schedule')} rises for a good part of the training; say"
            " for how much, such as --warmup=0.3, or use --schedule=cosine"
        )
    if training.tar and training.num_steps < 2:
        raise UserError(
            f"{_shown(training, 'tar')} compares neighbouring time steps; with"
            f" {_shown(training, 'num_steps')} a window has no two"
        )
    if training.l2 and training.weight_decay:
        raise UserError(
            f"{_shown(training, 'l2')} and {_shown(training, 'weight_decay')} exclude"
            " each other: one is added to the gradients, the other is taken off the"
            " weights"
        )


def _check_random_lengths(training: TrainingConfig) -> None:
    """Raises UserError where windows cannot have random lengths."""
    chosen = _shown(training, "window_lengths")
    if training.windows != "sequential":
        raise UserError(
            f"{chosen} and {_shown(training, 'windows')} exclude each other: pieces of"
            " the text in random order have one length"
        )
    if training.num_steps < SHORTEST_LENGTH:
        raise UserError(
            f"{_shown(training, 'num_steps')}: with {chosen}, the shortest window has"
            f" {SHORTEST_LENGTH} tokens"
        )


def _check_readers(group: Validated, choice: str, members: Registry) -> None:
    """Raises UserError where an option is set that the chosen member does not read."""
    defaults = {f.name: f.default for f in dataclasses.fields(group)}
    chosen = members[getattr(group, choice)]
    for option in defaults:
        readers = [name for name in members if option in members[name].options]
        unread = readers and option not in chosen.options
        if unread and getattr(group, option) != defaults[option]:
            raise UserError(
                f"{_shown(group, option)} has no effect with"
                f" {_shown(group, choice)}; it is for {', '.join(readers)}"
            )


def _shown(group: Validated, option: str) -> str:
    """An option and its value, as a user types them."""
    return f"--{option}={format_value(getattr(group, option))}"
