"""The options of a command that its user did not type.

A run's flags.txt sets every option that existed when the run was started. For such a
run, a later option has its default: what runs did before.
"""

import pathlib
from collections.abc import Collection
from typing import Any

from ptb_lm.config import Config, option_groups
from ptb_lm.data.corpus import corpus_name
from ptb_lm.data.sources import check_data_path
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.options import format_value
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files


def run_path(config: Config) -> pathlib.Path:
    """The run folder: --save_path, or runs/MODEL-CORPUS."""
    if config.run.save_path:
        return files.expand_home(config.run.save_path)
    name = f"{config.run.model}-{corpus_name(config.data.data_path)}"
    return pathlib.Path("runs") / name


def is_record(names: Collection[str]) -> bool:
    """Whether these are the options of a whole flags.txt of a run, of any version.

    Such a flagfile, ``--flagfile=RUN/flags.txt``, is complete without a preset.
    """
    every = [option for _, options in option_groups() for option in options]
    first = {option.name for option in every if option.metadata["since"] == 1}
    return first - {"mode", "save_path"} <= set(names)


def resumed(config: Config, typed: dict[str, Any]) -> Config:
    """The configuration of a command that may resume a run.

    If the folder holds a run already, the run gives the options that the user did not
    type. So the same command resumes it after a preset or a default has changed, and
    --save_path alone is enough.

    Args:
      config: the typed options, over the preset and the defaults.
      typed: the options that the user typed, by name.

    Returns:
      The configuration. It may differ from the run's; `RunFolder.open_for_training`
      refuses options that make another run.

    Raises:
      UserError: the run's flags.txt is damaged, or its corpus is not where it says.
    """
    path = run_path(config)
    folder = RunFolder(path)
    if config.run.mode != "train" or is_record(typed) or not folder.holds_run():
        return config
    stored = folder.config()
    if "data_path" not in typed:
        check_recorded_corpus(folder, stored)
    return Config.from_values(stored.values() | {"save_path": str(path)} | typed)


def check_recorded_corpus(folder: RunFolder, stored: Config) -> None:
    """Checks that there is something where a run has its corpus from.

    Args:
      folder: of the run.
      stored: its options.

    Raises:
      UserError: there is nothing.
    """
    try:
        check_data_path(stored.data.data_path)
    except UserError as error:
        raise UserError(
            f"{folder.path}/flags.txt has {error}; type --data_path to say where the"
            " corpus is now"
        ) from error


def given_vocabulary(config: Config) -> Vocabulary | None:
    """The vocabulary of --vocabulary_from; None: that of the training text.

    A run that is resumed has it already, and does not need the other run any more.

    Raises:
      UserError: there is no such run, it splits texts into other tokens, or an option
        asks for another vocabulary.
    """
    data = config.data
    if not data.vocabulary_from:
        return None
    folder = RunFolder(run_path(config))
    if folder.holds_run():
        return folder.vocabulary()
    option = f"--vocabulary_from={data.vocabulary_from}"
    for name in ("max_vocab_size", "min_count"):
        if getattr(data, name):
            raise UserError(
                f"{option}: its vocabulary is given, so --{name}={getattr(data, name)}"
                " has no effect; set it to 0"
            )
    run = TrainedRun(files.expand_home(data.vocabulary_from))
    for name in ("token_type", "normalize"):
        there, here = getattr(run.config.data, name), getattr(data, name)
        if there != here:
            raise UserError(
                f"{option}: --{name}={format_value(there)} there,"
                f" {format_value(here)} here"
            )
    return run.vocabulary
