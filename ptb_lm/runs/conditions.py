"""What the steps of a run depend on besides its checkpoint: options and machine.

A checkpoint has the conditions of the steps before it. What differs where the run is
resumed is a change. So a change is known from the checkpoint alone, and is not lost
when the process that noticed it is killed before it saves.
"""

import dataclasses
from typing import Any, Self

from ptb_lm.config import Config, fields_by_name
from ptb_lm.options import format_value
from ptb_lm.runs.provenance import rounding
from ptb_lm.runs.results import Change


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What decides the weights after a step, besides the checkpoint before it.

    Attributes:
      options: those that make the run what it is, by name with dashes. Paths are not
        among them: they tell where the run began from.
      rounding: from `provenance.rounding`.
    """

    options: dict[str, Any]
    rounding: dict[str, Any]

    @classmethod
    def of(cls, config: Config, devices: int = 1) -> Self:
        """The conditions of the steps that this process takes.

        Args:
          config: by which it takes them.
          devices: that share each batch.
        """
        options = {
            f"--{name}": value
            for name, value in config.run_values().items()
            if not fields_by_name()[name].metadata["is_path"]
        }
        return cls(options, rounding() | {"devices": devices})

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint's metadata has them."""
        return {"options": self.options, "rounding": self.rounding}

    @classmethod
    def from_json(cls, metadata: dict[str, Any]) -> Self:
        """Inverse of `to_json`; nothing is known of what the metadata lacks.

        Raises:
          TypeError: these are not such metadata.
        """
        known = [metadata.get(name, {}) for name in ("options", "rounding")]
        if not all(type(values) is dict for values in known):
            raise TypeError(f"conditions are {known!r:.50}")
        return cls(*known)


def changed(before: dict[str, Any], after: dict[str, Any], step: int) -> list[Change]:
    """What differs of what is known both before a step and after it."""
    return [
        Change(step, name, before[name], after[name])
        for name in after
        if name in before and before[name] != after[name]
    ]


def in_words(changes: list[Change]) -> str:
    """Changes as a part of a sentence."""
    return ", ".join(map(_in_words, changes))


def _in_words(change: Change) -> str:
    """One change; of two lists of words, what only one of them has."""
    before, after = change.before, change.after
    if change.name == "instructions":
        words = set(str(before).split()), set(str(after).split())
        before = " ".join(sorted(words[0] - words[1]))
        after = " ".join(sorted(words[1] - words[0]))
    shown = [format_value(value) or "none" for value in (before, after)]
    return f"{change.name} {shown[0]} before, {shown[1]} now"
