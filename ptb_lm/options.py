"""What an option is: a dataclass field with its help text and its rule."""

import dataclasses
import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ptb_lm.errors import UserError
from ptb_lm.registry import Registry


def option(
    default: Any,
    help_text: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    choices: Collection[str] | None = None,
    known_as: str = "",
    parse: Callable[[str], Any] | None = None,
    defines_run: bool = True,
    may_change: bool = False,
    shapes_weights: bool = False,
    is_path: bool = False,
    common: bool = False,
    since: int = 1,
) -> Any:
    """Declares one option as a dataclass field.

    Args:
      default: the value if neither the user nor the preset sets one. Its type is the
        option's type.
      help_text: one or two sentences for ``--help``, with the unit. If the choices are
        a registry, ``{members}`` stands for the list of its members.
      minimum: the smallest value allowed.
      above: the value must be greater than this.
      maximum: the largest value allowed.
      below: the value must be less than this.
      choices: the only values allowed besides the default: a collection, or a registry
        with the members that it has when the value is checked.
      known_as: its names in other programs, separated by spaces. An error message leads
        from them to this option.
      parse: reads a string that has a syntax of its own; its ValueError says what is
        wrong with one.
      defines_run: whether another value makes another run, so that a run refuses to
        resume with it.
      may_change: whether a run that it defines may get another value on the way, with
        ``--change_options``, because the option concerns only the steps that follow.
      shapes_weights: whether another value may make other weights: other names, or
        other shapes. ``--init_from`` needs the same value in both runs.
      is_path: whether the value is a path, which flags.txt has as an absolute one.
      common: whether ``--help`` shows the option; ``--helpfull`` shows all.
      since: 1 for an option that every flags.txt sets. 2 for every later option: an
        older flags.txt lacks it, so its default must be what runs did before it came.

    Returns:
      A dataclass field with these as its metadata.
    """
    metadata = {
        "help": help_text,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "below": below,
        "choices": choices,
        "known_as": known_as.split(),
        "parse": parse,
        "defines_run": defines_run,
        "may_change": may_change,
        "shapes_weights": shapes_weights,
        "is_path": is_path,
        "common": common,
        "since": since,
    }
    return dataclasses.field(default=default, metadata=metadata)


def help_text(field: dataclasses.Field) -> str:
    """The help of an option, with the members that its registry has by now."""
    text, choices = field.metadata["help"], field.metadata["choices"]
    if isinstance(choices, Registry):
        return text.replace("{members}", choices.listed())
    return text


def closest(word: str, known: Collection[str], likeness: float = 0.6) -> str | None:
    """The known word of which this one may be a misspelling; None: there is none.

    Args:
      word: as the user typed it.
      known: the words that are allowed.
      likeness: how like it must be, from 0 to 1, see `difflib.SequenceMatcher.ratio`;
        the more words there are, the higher.
    """
    swaps = (word[:i] + word[i : i + 2][::-1] + word[i + 2 :] for i in range(len(word)))
    exchanged = sorted(set(known).intersection(swaps) - {word})
    if exchanged:  # two neighbouring letters, which the ratio takes for two mistakes
        return exchanged[0]
    close = difflib.get_close_matches(word, known, n=1, cutoff=likeness)
    return close[0] if close else None


# Sizes that float32, in which the model computes, can hold and divide by.
SMALLEST, LARGEST = 1e-30, 1e30

# Unicode categories of what breaks the lines of flags.txt: control characters, line
# and paragraph separators.
_NOT_IN_A_LINE = frozenset({"Cc", "Zl", "Zp"})
_SURROGATE = "Cs"  # Python's stand-in for a byte that is not UTF-8


@dataclasses.dataclass(frozen=True)
class Validated:
    """Checks every field against its metadata when an instance is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            problem = None
            if value != field.default:
                problem = _problem(value, field.metadata)
            if problem:
                shown = value if str(value).isprintable() else ascii(value)
                raise UserError(f"--{field.name}={shown}: {problem}")


def _problem(value: Any, rule: Mapping[str, Any]) -> str | None:
    """Says what is wrong with a value, or None."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, float) and abs(value) > LARGEST:
        return f"must be at most {LARGEST:g}"
    if isinstance(value, float) and 0.0 < abs(value) < SMALLEST:
        return f"must be at least {SMALLEST:g}"
    if isinstance(value, str):
        categories = set(map(unicodedata.category, value))
        if _SURROGATE in categories:
            return "must be UTF-8 text, which it is not"
        if categories & _NOT_IN_A_LINE:
            return "must be one line of text without control characters"
    if rule["choices"] is not None and value not in rule["choices"]:
        meant = closest(value, rule["choices"])
        listed = ", ".join(rule["choices"])
        return f"must be one of {listed}" + (
            f"; did you mean {meant}?" if meant else ""
        )
    if rule["parse"] is not None:
        try:
            rule["parse"](value)
        except ValueError as error:
            return str(error)
    if rule["minimum"] is not None and value < rule["minimum"]:
        return f"must be at least {rule['minimum']}"
    if rule["above"] is not None and value <= rule["above"]:
        return f"must be greater than {rule['above']}"
    if rule["maximum"] is not None and value > rule["maximum"]:
        return f"must be at most {rule['maximum']}"
    if rule["below"] is not None and value >= rule["below"]:
        return f"must be less than {rule['below']}"
    return None


def format_value(value: Any) -> str:
    """An option's value as a flagfile writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_bool(text: str) -> bool:
    """Inverse of `format_value` for true and false."""
    if text not in ("true", "false"):
        raise ValueError("expected true or false")
    return text == "true"


# Below 10^9, so that no width is too large for a tensor's shape.
_SIZE = "[1-9][0-9]{0,8}"


def parse_sizes(text: str) -> list[int]:
    """Reads positive integers separated by commas; empty: none."""
    if not text:
        return []
    if not re.fullmatch(f"{_SIZE}(,{_SIZE})*", text):
        raise ValueError("must be positive integers separated by commas")
    return [int(size) for size in text.split(",")]


def parse_cutoffs(text: str) -> list[int]:
    """Reads positive integers in rising order, separated by commas; at least one."""
    cutoffs = parse_sizes(text)
    if not cutoffs or cutoffs != sorted(set(cutoffs)):
        raise ValueError("must be positive integers in rising order, with commas")
    return cutoffs


def parse_devices(text: str) -> str | int:
    """Reads cpu, gpu, all, or how many devices."""
    if text in ("cpu", "gpu", "all"):
        return text
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise ValueError("must be cpu, gpu, all, or how many, such as 2")
    return int(text)


def parse_distribution(text: str) -> tuple[str, float]:
    """Reads uniform:0.1, within +-0.1, or normal:0.1, of that standard deviation."""
    name, _, number = text.partition(":")
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if name not in ("uniform", "normal") or not 0 <= scale <= LARGEST:
        raise ValueError("must be uniform:SCALE or normal:SCALE, such as uniform:0.1")
    return name, scale


def parse_weights(text: str) -> list[float]:
    """Reads weights separated by commas, scaled to sum to 1; empty: none."""
    if not text:
        return []
    try:
        weights = [float(part) for part in text.split(",")]
        total = math.fsum(weights)
    except (ValueError, OverflowError):
        weights, total = [], 0.0
    if not all(weight >= 0 for weight in weights) or not 0 < total < math.inf:
        raise ValueError("must be numbers separated by commas, none of them negative")
    return [weight / total for weight in weights]
