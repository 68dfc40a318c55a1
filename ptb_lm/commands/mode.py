"""What a mode is: the work of a command, and the options that it reads."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ptb_lm.config import Config, EvaluationConfig
from ptb_lm.errors import UserError
from ptb_lm.options import Validated, format_value
from ptb_lm.registry import MODES

# What most modes read: where the run is, and which of its weights.
TRAINED_RUN = ("save_path", "model", "data_path", "weights")
# Of what scores a text: dynamic evaluation and the cache.
ADAPTATION = tuple(
    field.name
    for field in dataclasses.fields(EvaluationConfig)
    if field.name.startswith(("dynamic", "cache_"))
)


@dataclasses.dataclass(frozen=True)
class Mode:
    """A mode. The members of the registry `MODES` are instances.

    Attributes:
      run: does the work, and returns the exit status. It raises UserError for a mistake
        of the user.
      reads: the options that `run` reads, besides --mode and --plugin: their names, or
        classes of `config.py`, whose options it reads all.
      replaces: an option that `run` reads -> those that have no effect once this one is
        set.
      formats: the values of --format that it can write, if it reads that option.
    """

    run: Callable[[Config], int]
    reads: tuple[str | type[Validated], ...]
    replaces: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    formats: tuple[str, ...] = ("text", "json")

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that it reads."""
        names = {"mode", "plugin"}
        for part in self.reads:
            if isinstance(part, str):
                names.add(part)
            else:
                names |= {field.name for field in dataclasses.fields(part)}
        return frozenset(names)


def check_effect(mode: str, typed: Mapping[str, Any]) -> None:
    """Raises UserError where a typed option has no effect.

    Args:
      mode: the command's.
      typed: the options that the user typed, with their values. Those of a preset or a
        flagfile are not among them: such a file serves several modes.
    """
    member, defaults = MODES[mode], Config().values()
    for name in typed:
        if name not in member.options:
            readers = [other for other in MODES if name in MODES[other].options]
            raise UserError(
                f"{_shown(name, typed)} has no effect with --mode={mode}; it is for"
                f" {', '.join(readers)}"
            )
    if typed.get("format", "text") not in member.formats:
        raise UserError(
            f"{_shown('format', typed)}: {mode} writes {' or '.join(member.formats)}"
        )
    for name, replaced in member.replaces.items():
        for other in replaced:
            if other in typed and typed.get(name, defaults[name]) != defaults[name]:
                raise UserError(
                    f"{_shown(other, typed)} has no effect with {_shown(name, typed)}"
                )


def _shown(name: str, typed: Mapping[str, Any]) -> str:
    """An option as the user typed it."""
    return f"--{name}={format_value(typed[name])}"
