"""What is said of the tokens of a text that a vocabulary lacks."""

import dataclasses
from typing import Any

from ptb_lm.data.vocabulary import UNKNOWN

LONGEST_SHOWN = 60  # characters of a token in a message


@dataclasses.dataclass(frozen=True)
class UnknownTokens:
    """How many tokens of a text are unknown: ``<unk>``, or left out.

    Attributes:
      share: of all tokens of the text.
      left_out: number of those that the model does not see.
    """

    share: float
    left_out: int

    def to_json(self) -> dict[str, Any]:
        """As a JSON object has it beside a perplexity."""
        return {"unknown_share": self.share, "left_out_tokens": self.left_out}

    def to_text(self) -> str:
        """As a line has it after the number of tokens; empty if there are none."""
        if self.left_out:
            plural = "s" * (self.left_out > 1)
            return f"; {self.left_out:,} unknown token{plural} left out"
        return f"; {percent(self.share)} of the text is {UNKNOWN}" * bool(self.share)


def percent(share: float) -> str:
    """A share of 1 in percent, with three digits."""
    return f"{100 * share:.3g} %"


def cut_off(token: str) -> str:
    """A token, the end of a long one left out, for a message of one short line."""
    return token if len(token) <= LONGEST_SHOWN else f"{token[:LONGEST_SHOWN]}…"
