"""Trains and evaluates LSTM language models. See README.md.

python run_ptb.py                                    the built-in corpus
python run_ptb.py --model=small --data_path=FOLDER   the Penn Treebank
"""

import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from ptb_lm import __version__
from ptb_lm.commands.flagfiles import Flagfiles
from ptb_lm.commands.help import help_page
from ptb_lm.commands.mode import check_effect
from ptb_lm.commands.suggestions import suggestion
from ptb_lm.config import RETIRED, Config, option_groups
from ptb_lm.errors import UserError
from ptb_lm.options import help_text
from ptb_lm.registry import LOADED_PLUGINS, MODES, load_plugin
from ptb_lm.runs import resuming
from ptb_lm.runs.presets import preset_file
from ptb_lm.system import program
from ptb_lm.system.quiet_start import import_tensorflow
from ptb_lm.system.streams import prepare_streams

EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}


class OurFlagfiles(flags.FlagValues):
    """Flags, with what flagfiles hold."""

    def read_flags_from_files(
        self, argv: Sequence[str], force_gnu: bool = True
    ) -> list[str]:
        """The arguments, with those of the files; absl calls this."""
        return list(Flagfiles().expand(argv))


class WithoutFlagfiles(flags.FlagValues):
    """Flags as they are typed: what a flagfile holds is not read."""

    def read_flags_from_files(
        self, argv: Sequence[str], force_gnu: bool = True
    ) -> list[str]:
        """The arguments as they are; absl calls this to put in what files hold."""
        return list(argv)


class PlainWords(flags.ArgumentParser):
    """Says what a flag expects in words that are not Python's."""

    def __init__(self, parser: flags.ArgumentParser, expected: str):
        """Parses as another parser."""
        self._parser, self._expected = parser, expected

    def parse(self, argument: str) -> Any:
        """The value of an argument; ValueError where it has none."""
        try:
            return self._parser.parse(argument)
        except (TypeError, ValueError):
            raise ValueError(f"must be {self._expected}") from None


def define_flags(values: flags.FlagValues) -> None:
    """One absl flag per option of the configuration."""
    define: dict[type, Callable[..., Any]] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for _, options in option_groups():
        for option in options:
            kind = type(option.default)
            define[kind](
                option.name, option.default, help_text(option), flag_values=values
            )
            if kind in EXPECTED:
                flag = values[option.name]
                flag.parser = PlainWords(flag.parser, EXPECTED[kind])
    for name, letter in (("help", "h"), ("helpfull", None), ("version", None)):
        flags.DEFINE_bool(name, False, "", flag_values=values, short_name=letter)
    flags.DEFINE_string("flagfile", "", "Read flags from a file.", flag_values=values)


def read_flags(
    arguments: Sequence[str], values: flags.FlagValues | None = None
) -> flags.FlagValues:
    """The flags that the arguments set.

    Args:
      arguments: flags.
      values: where to set them; None: in new values, with what flagfiles hold.

    Raises:
      UserError: an unknown flag, a value of another type, what is no flag, or a
        flagfile that cannot be read.
    """
    ignored = []
    if values is None:
        values = OurFlagfiles()
        ignored = [f"--undefok={','.join(RETIRED)}"]  # absl's own; for old flagfiles
    define_flags(values)
    try:
        rest = values([sys.argv[0], *ignored, *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        raise UserError(f"--{name}: unknown{suggestion(name)}") from error
    except flags.Error as error:
        message = " ".join(str(error).removeprefix("ERROR:: ").split())
        raise UserError(message.removeprefix("flag ")) from error
    except ValueError as error:  # --noNAME=VALUE
        raise UserError(str(error)) from error
    if rest:
        raise UserError(
            f"{rest[0]!r} is not a flag; flags begin with --{suggestion(rest[0])}"
        )
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
      UserError: an unknown flag, a value that is not allowed, or an option that has no
        effect in the mode.
    """
    values = read_flags(arguments)
    typed = set_options(read_flags(arguments, WithoutFlagfiles()))
    _load_plugin(values.plugin, typed)
    if values.help or values.helpfull:
        print(help_page(values.helpfull, typed.get("mode")))
        return None
    if values.version:
        print(f"ptb_lm {__version__}")
        return None
    options = given = set_options(values)
    if not resuming.is_record(given):
        preset = read_flags([f"--flagfile={preset_file(values.model)}"])
        options = set_options(preset) | given
    config = Config.from_values(options)
    check_effect(config.run.mode, typed)
    return resuming.resumed(config, given) if resume else config


def _load_plugin(name: str, typed: dict[str, Any]) -> None:
    """Runs a plugin that was typed; one that a flagfile names may be anyone's."""
    if typed.get("plugin"):
        import_tensorflow()  # most plugins do, which would not be quiet
        load_plugin(typed["plugin"])
    if name and name not in LOADED_PLUGINS:
        raise UserError(
            f"--plugin={name}: a flagfile names it, and the program runs only a plugin"
            " that is typed; type it too, if you trust it"
        )


def set_environment() -> None:
    """Sets what TensorFlow reads when it is imported; keeps what is set already."""
    # TensorFlow's own log lines, up to warnings, are of no use to a user. Among several
    # workers it calls an error what the program tells in a line of its own.
    level = "3" if os.environ.get("TF_CONFIG") else "2"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", level)
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
        return MODES[config.run.mode].run(config)
    except UserError as error:
        program.say(error)
        return 2
    except MemoryError as error:
        program.say(f"out of memory {error}".rstrip())
        return 2
    except KeyboardInterrupt:
        program.say("interrupted")
        return 128 + signal.SIGINT


def run_process(*words: str) -> int:
    """The command line as the process of its own; returns the exit status.

    Args:
      words: what the user typed before the options.
    """
    prepare_streams()
    program.started_by(*words)
    warnings.showwarning = lambda message, *unused: program.say(message)
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone
        return 128 + signal.SIGPIPE
    except UserError as error:  # the end of our output cannot be written
        program.say(error)
        return 2
    return status


def installed_command() -> int:
    """The command ``ptb-lm``, which `pip install` makes; returns the exit status."""
    path = sys.argv[0]
    name = os.path.basename(path)
    return run_process(name if shutil.which(name) == path else path)


if __name__ == "__main__":
    count = len(sys.argv) - 1
    sys.exit(run_process(*sys.orig_argv[: len(sys.orig_argv) - count]))
