"""The scores of the tokens of a text."""

import dataclasses

import numpy as np

from ptb_lm.data.unknown import UnknownTokens
from ptb_lm.evaluation.metrics import Score


@dataclasses.dataclass(frozen=True)
class ScoredText:
    """The scores of a text's tokens.

    Attributes:
      tokens: as the model reads them.
      nats: of each token, -log p; None where nothing comes before it, so that it is
        not counted.
      unknown: how much of the text is unknown.
    """

    tokens: list[str]
    nats: list[float | None]
    unknown: UnknownTokens

    @property
    def score(self) -> Score:
        """Sum over the tokens that are counted."""
        counted = [nats for nats in self.nats if nats is not None]
        return Score(float(np.sum(counted)), len(counted))
