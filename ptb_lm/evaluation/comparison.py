"""What is said of a text that was scored: how sure the figure is, how another's is."""

import dataclasses
import json
from typing import Any

from ptb_lm.data.unknown import UnknownTokens
from ptb_lm.evaluation.confidence import Interval
from ptb_lm.evaluation.metrics import Score


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A text under one model, or under a mixture.

    Attributes:
      text: its name.
      run: folder of the run, or of the runs.
      weights: "best" or "last".
      counting: "exact" or "tutorial".
      score: of the text.
      unknown: how much of the text is unknown.
      settings: of the method, by name, see `Members.settings`.
      confidence: of the intervals; 0: there are none.
      interval: of the perplexity.
      other_run: folder of the run that it is compared with; empty: none.
      other_score: of the same text under that.
      ratio_interval: of the ratio of the two perplexities.
      are_bytes: whether its tokens are bytes.
    """

    text: str
    run: str
    weights: str
    counting: str
    score: Score
    unknown: UnknownTokens
    settings: dict[str, Any]
    confidence: float = 0.0
    interval: Interval | None = None
    other_run: str = ""
    other_score: Score | None = None
    ratio_interval: Interval | None = None
    are_bytes: bool = False

    def to_json(self) -> str:
        """As a JSON object on one line."""
        entry: dict[str, Any] = {
            "text": self.text,
            **self.score.to_json(),
            **self.unknown.to_json(),
            **({"bits_per_byte": self.score.bits_per_token} if self.are_bytes else {}),
            "counting": self.counting,
            "weights": self.weights,
            "run": self.run,
            **self.settings,
        }
        if self.interval:
            entry["confidence"] = self.confidence
            entry["perplexity_interval"] = list(self.interval)
        if self.other_score:
            entry["compare"] = {"run": self.other_run, **self.other_score.to_json()}
        if self.ratio_interval:
            entry["ratio_interval"] = list(self.ratio_interval)
        return json.dumps(entry, ensure_ascii=False)

    def to_text(self) -> str:
        """As lines."""
        score, percent = self.score, f"{100 * self.confidence:g} %"
        token = "byte" if self.are_bytes else "token"
        lines = [
            f"{self.text}: perplexity {score.perplexity:.3f}"
            f" ({score.nats_per_token:.5f} nats or {score.bits_per_token:.5f} bits a"
            f" {token}; {score.tokens:,} {token}s, counted the {self.counting} way"
            f"{self.unknown.to_text()}; {self.weights} weights of {self.run})"
        ]
        if self.interval:
            low, high = self.interval
            lines.append(f"{percent} interval: {low:.3f} to {high:.3f}")
        if self.other_score:
            other = self.other_score.perplexity
            lines.append(
                f"{self.other_run}: perplexity {other:.3f};"
                f" ratio {score.perplexity / other:.4f}"
            )
        if self.ratio_interval:
            low, high = self.ratio_interval
            differ = "they differ" if high < 1 or low > 1 else "they may be equal"
            lines.append(f"{percent} interval: {low:.4f} to {high:.4f}; {differ}")
        return "\n".join(lines)
