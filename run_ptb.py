"""Trains and evaluates LSTM language models. See README.md.

python run_ptb.py                                    the built-in corpus
python run_ptb.py --model=small --data_path=FOLDER   the Penn Treebank
"""

import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from ptb_lm.config import Config, option_groups
from ptb_lm.errors import UserError

PRESETS = pathlib.Path(__file__).parent / "flags"


def define_flags() -> flags.FlagValues:
    """One absl flag per option of the configuration."""
    values = flags.FlagValues()
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for heading, options in option_groups():
        for option in options:
            rule = option.metadata
            define[type(option.default)](
                option.name, option.default, rule["help"], flag_values=values
            )
            values[option.name].module = heading
    flags.DEFINE_bool("help", False, "Show this help.", flag_values=values)
    flags.DEFINE_string("flagfile", "", "Read flags from a file.", flag_values=values)
    return values


def with_preset(values: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    """Puts the flags of the preset that --model names before all others."""
    arguments = values.read_flags_from_files(list(arguments), force_gnu=False)
    names = [
        a.split("=", 1)[1] for a in arguments if a.lstrip("-").startswith("model=")
    ]
    name = names[-1] if names else values["model"].default
    path = PRESETS / f"{name}.flags"
    if not name.isidentifier() or not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.flags")))
        raise UserError(f"--model={name}: unknown; the presets are {known}")
    return values.read_flags_from_files([f"--flagfile={path}"]) + arguments


def parse(arguments: Sequence[str]) -> Config | None:
    """The configuration that the arguments ask for; None where that is help.

    Raises:
      UserError: an unknown flag or a value that is not allowed.
    """
    values = define_flags()
    try:
        rest = values([sys.argv[0], *with_preset(values, arguments)])[1:]
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags begin with --")
    if values.help:
        return None
    return Config.from_values({name: values[name].value for name in values})


def print_help() -> None:
    """Every option with its default, by group."""
    print(__doc__)
    for heading, options in option_groups():
        print(heading)
        for option in options:
            print(f"  --{option.name}={option.default!r}: {option.metadata['help']}")


def set_environment() -> None:
    """Settings that TensorFlow reads when it is imported; yours win."""
    # TensorFlow's own log lines from warnings up are of no use to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Without it, every step's large buffers go back to the system and are
    # faulted in again: a fifth to a third of a small model's time.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")


def main(arguments: Sequence[str] = ()) -> int:
    """Runs the command line; returns the exit status.

    Args:
      arguments: flags. Those of the process are not read, so that this can be
        called from a notebook.
    """
    try:
        config = parse(arguments)
        if config is None:
            print_help()
            return 0
        from ptb_lm import commands

        return commands.run(config)
    except UserError as error:
        print(f"run_ptb.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    set_environment()
    sys.exit(main(sys.argv[1:]))
