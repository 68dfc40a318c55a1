"""The options of a command that its user did not type.

A run's flags.txt sets every option that existed when the run was started. For such a
run, a later option has its default: what runs did before.
"""

import pathlib
from collections.abc import Collection
from typing import Any

from ptb_lm.config import Config, option_groups
from ptb_lm.data.corpus import corpus_name
from ptb_lm.runs.folder import RunFolder
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
      UserError: the run's flags.txt is damaged.
    """
    path = run_path(config)
    folder = RunFolder(path)
    if config.run.mode != "train" or is_record(typed) or not folder.holds_run():
        return config
    values = folder.config().values() | {"save_path": str(path)} | typed
    return Config.from_values(values)
