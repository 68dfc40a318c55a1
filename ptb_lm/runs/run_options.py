"""The options of a run: as flags.txt has them, and which may change on the way."""

import os
import pathlib
import shlex
from typing import Any

from ptb_lm.config import Config, fields_by_name
from ptb_lm.data.sources import absolute_data_path
from ptb_lm.errors import UserError
from ptb_lm.options import format_value
from ptb_lm.system import files

LENGTH = "max_max_epoch"  # a run may become longer or shorter in any case


def recorded(config: Config) -> Config:
    """The configuration as flags.txt has it: paths are absolute, to hold anywhere.

    Raises:
      UserError: a path is in a home folder that does not exist.
    """
    values = config.values()
    for name, field in fields_by_name().items():
        if field.metadata["is_path"] and values[name]:
            values[name] = os.path.abspath(files.expand_home(values[name]))
    values["data_path"] = absolute_data_path(config.data.data_path)
    return Config.from_values(values)


def differences(stored: Config, config: Config) -> dict[str, tuple[Any, Any]]:
    """The options that make a run what it is and differ: name -> (stored, here)."""
    there, here = recorded(stored).run_values(), recorded(config).run_values()
    return {n: (there[n], here[n]) for n in here if there[n] != here[n]}


def may_change(name: str) -> bool:
    """Whether an option may get another value while a run is under way."""
    return fields_by_name()[name].metadata["may_change"]


def check_same_run(path: pathlib.Path, stored: Config, config: Config) -> None:
    """Checks that a command may go on with a run.

    Args:
      path: the run's folder.
      stored: the options of the run.
      config: those of the command.

    Raises:
      UserError: an option differs that may not change. It lists all such, and says
        what to do instead.
    """
    found = differences(stored, config)
    allowed = {LENGTH}
    if config.run.change_options:
        allowed |= set(filter(may_change, found))
    refused = {name: found[name] for name in found.keys() - allowed}
    if refused:
        listed = "; ".join(
            f"--{name}={format_value(there)} there, {format_value(here)} here"
            for name, (there, here) in found.items()
            if name in refused
        )
        ways = "; ".join(_ways_out(path, [*refused]))
        raise UserError(f"{path} holds a run with other options: {listed}; {ways}")


def _ways_out(path: pathlib.Path, refused: list[str]) -> list[str]:
    """What to do where these options may not change, in words."""
    run = shlex.quote(str(path))
    ways = [f"--save_path={run} alone resumes it"]
    changing = sorted(filter(may_change, refused))
    if changing == sorted(refused):
        ways.append("--change_options resumes it with these from now on")
    elif changing:
        names = ", ".join(f"--{name}" for name in changing)
        ways.append(f"--change_options can change only {names}")
    fields = fields_by_name()
    if any(fields[name].metadata["shapes_weights"] for name in refused):
        ways.append("another --save_path starts another run")
    else:
        ways.append(
            f"another --save_path with --init_from={run} starts another run from its"
            " best weights"
        )
    return ways
