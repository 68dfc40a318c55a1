"""Where a run is: the part of a checkpoint that is not arrays."""

import dataclasses
from typing import Any, Self

from ptb_lm.config import TrainingConfig
from ptb_lm.runs.results import EpochScores, check_figure


@dataclasses.dataclass
class Position:
    """Where a run is, and what it has measured.

    Attributes:
      step: training steps taken.
      epoch: of the next step, from 0.
      window: of the next step, within the epoch.
      epoch_nats: sum of nats over this epoch's steps so far.
      interval_nats: the same since the last point of the curves.
      interval_steps: steps since then.
      interval_clipped: of these, the steps whose gradients were clipped.
      timed_tokens: tokens of this epoch's steps that were timed.
      timed_seconds: the time these took.
      wall_seconds: time spent on the run by all its processes.
      resumed: how often the run was resumed.
      epochs: what was measured after each epoch.
    """

    step: int = 0
    epoch: int = 0
    window: int = 0
    epoch_nats: float = 0.0
    interval_nats: float = 0.0
    interval_steps: int = 0
    interval_clipped: int = 0
    timed_tokens: int = 0
    timed_seconds: float = 0.0
    wall_seconds: float = 0.0
    resumed: int = 0
    epochs: list[EpochScores] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "epochs":
                kinds = (type(field.default),)
                check_figure(field.name, getattr(self, field.name), kinds)
        if [scores.epoch for scores in self.epochs] != [*range(1, self.epoch + 1)]:
            raise ValueError(f"epochs are not those before epoch {self.epoch + 1}")

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as JSON has them."""
        return vars(self) | {"epochs": [scores.to_json() for scores in self.epochs]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`, also of what older versions wrote.

        Raises:
          TypeError, ValueError, LookupError: these are not such values.
        """
        if type(values) is not dict:
            raise TypeError(f"the position is {values!r:.50}")
        epochs = values.get("epochs", [])
        if type(epochs) is not list:
            raise TypeError(f"epochs is {epochs!r:.50}")
        records = [EpochScores.from_json(epoch) for epoch in epochs]
        return cls(**values | {"epochs": records})

    def is_end(self, training: TrainingConfig) -> bool:
        """Whether the last epoch is done, or early stopping says so."""
        if self.epoch >= training.max_max_epoch:
            return True
        patience, best = training.early_stopping, self.best()
        return best is not None and 0 < patience <= self.epoch - best.epoch

    def best(self) -> EpochScores | None:
        """The epoch of the lowest valid perplexity, the first of several."""
        return min(self.epochs, key=lambda e: e.valid_perplexity, default=None)
