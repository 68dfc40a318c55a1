"""Trains and evaluates LSTM language models. See README.md.

python run_ptb.py                                    the built-in corpus
python run_ptb.py --model=small --data_path=FOLDER   the Penn Treebank
"""

import os
import pathlib
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from ptb_lm.config import Config, option_groups
from ptb_lm.errors import UserError
from ptb_lm.options import format_value
from ptb_lm.registry import MODES
from ptb_lm.runs import resuming

HELP_COLUMN = 24  # where the options' descriptions begin
HERE = pathlib.Path(__file__).parent
# In a checkout they are beside this file; when installed, inside the package, for
# the folder beside this file is then everybody's.
INSTALLED = HERE / "ptb_lm" / "flags"
PRESETS = INSTALLED if INSTALLED.is_dir() else HERE / "flags"


def define_flags() -> flags.FlagValues:
    """One absl flag per option of the configuration."""
    values = flags.FlagValues()
    define: dict[type, Callable[..., Any]] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for _, options in option_groups():
        for option in options:
            define[type(option.default)](
                option.name,
                option.default,
                option.metadata["help"],
                flag_values=values,
            )
    for name in ("help", "helpfull"):
        flags.DEFINE_bool(name, False, "Show the options.", flag_values=values)
    flags.DEFINE_string("flagfile", "", "Read flags from a file.", flag_values=values)
    return values


def preset_file(name: str) -> pathlib.Path:
    """The flagfile of a preset; UserError where there is none of that name."""
    presets = {path.stem: path for path in PRESETS.glob("*.flags")}
    if name not in presets:
        known = ", ".join(sorted(presets))
        raise UserError(f"--model={name}: unknown; the presets are {known}")
    return presets[name]


def read_flags(arguments: Sequence[str]) -> flags.FlagValues:
    """The flags that the arguments set.

    Raises:
      UserError: an unknown flag, a value of another type, or what is no flag.
    """
    values = define_flags()
    try:
        rest = values([sys.argv[0], *arguments])[1:]
    except flags.Error as error:
        message = " ".join(str(error).removeprefix("ERROR:: ").split())
        raise UserError(message) from error
    except UnicodeDecodeError as error:
        raise UserError(f"--flagfile: not UTF-8 text: {error}") from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags begin with --")
    return values


def set_options(values: flags.FlagValues) -> dict[str, Any]:
    """The options that were set, by name; others have their default."""
    names = [option.name for _, options in option_groups() for option in options]
    return {name: values[name].value for name in names if values[name].present}


def parse(arguments: Sequence[str], resume: bool = False) -> Config | None:
    """The configuration that the arguments ask for; None where help was shown.

    Typed options override the preset. A run's flags.txt is complete and needs none.

    Args:
      arguments: flags.
      resume: whether a run that the folder holds already gives the options that are
        not typed, see `resuming.resumed`.

    Raises:
      UserError: an unknown flag or a value that is not allowed.
    """
    values = read_flags(arguments)
    options = typed = set_options(values)
    if not resuming.is_record(typed):
        preset = read_flags([f"--flagfile={preset_file(values.model)}"])
        options = set_options(preset) | typed
    if values.help or values.helpfull:
        print_help(complete=values.helpfull)
        return None
    config = Config.from_values(options)
    return resuming.resumed(config, typed) if resume else config


def print_help(complete: bool) -> None:
    """The options with their defaults, by group: all, or the most used ones."""
    print(__doc__.rstrip())
    for heading, options in option_groups():
        shown = [o for o in options if complete or o.metadata["common"]]
        if shown:
            print(f"\n{heading}")
        for option in shown:
            name = f"  --{option.name}={format_value(option.default)}"
            help_text = option.metadata["help"]
            if len(name) >= HELP_COLUMN:
                print(name)
                name = ""
            indent = " " * HELP_COLUMN
            lines = textwrap.fill(
                help_text,
                79,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
            print(name.ljust(HELP_COLUMN) + lines[HELP_COLUMN:])
    print(
        "\nEach value above is the default. A preset (--model; small, if you name none)"
        "\nsets some options to other values. Options from a file: --flagfile=FILE."
    )
    if not complete:
        print("All options: --helpfull.")


def set_environment() -> None:
    """Sets what TensorFlow reads when it is imported; keeps what is set already."""
    # TensorFlow's own log lines, up to warnings, are of no use to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A pool of TensorFlow's own for large buffers instead of malloc: about 50 MB
    # less at medium, and no slower.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")


def main(arguments: Sequence[str] = ()) -> int:
    """Runs the command line; returns the exit status.

    Args:
      arguments: flags. Those of the process are not read, so that this can be
        called from a notebook.
    """
    set_environment()
    try:
        config = parse(arguments, resume=True)
        if config is None:
            return 0
        return MODES[config.run.mode](config)
    except UserError as error:
        print(f"run_ptb.py: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"run_ptb.py: out of memory {error}".rstrip(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("run_ptb.py: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *unused: f"run_ptb.py: {message}\n"
    sys.exit(main(sys.argv[1:]))
