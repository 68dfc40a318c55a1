"""Sums of nats and counts of tokens, and what is read off them."""

import dataclasses
import math
from typing import NamedTuple

from ptb_lm.errors import UserError


class Unit(NamedTuple):
    """A unit of surprisal, the negative logarithm of a probability.

    Attributes:
      name: in the plural.
      nats: how many nats one of it is.
    """

    name: str
    nats: float


# By the base of the logarithm, as --log_base names it.
UNITS = {
    "e": Unit("nats", 1.0),
    "2": Unit("bits", math.log(2)),
    "10": Unit("hartleys", math.log(10)),
}


def perplexity(nats_per_token: float) -> float:
    """Exp of a cross entropy in nats a token; inf where a float cannot hold it."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf


@dataclasses.dataclass(frozen=True)
class Score:
    """Cross entropy of a text under a model.

    Attributes:
      nats: sum over the predicted tokens of -log probability, in nats.
      tokens: number of predicted tokens.
    """

    nats: float
    tokens: int

    @property
    def nats_per_token(self) -> float:
        """Mean cross entropy in nats; NaN where nothing was predicted."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """Perplexity per token."""
        return perplexity(self.nats_per_token)

    def to_json(self) -> dict[str, float | None]:
        """As JSON can hold it: there, a perplexity that is not finite is None."""
        is_finite = math.isfinite(self.perplexity)
        return {
            "total_nats": self.nats,
            "counted_tokens": self.tokens,
            "perplexity": self.perplexity if is_finite else None,
        }

    def check_finite(self) -> None:
        """Raises UserError where tokens are counted and the perplexity is not finite.

        Finite weights may be so large that the network's sums are infinite.
        """
        if self.tokens and not math.isfinite(self.perplexity):
            raise UserError(
                f"the perplexity is not finite ({self.nats_per_token:g} nats a token):"
                " the model's weights are too large"
            )

    @property
    def bits_per_token(self) -> float:
        """Mean cross entropy in bits; of a character model, bits per character."""
        return self.nats_per_token / math.log(2)
