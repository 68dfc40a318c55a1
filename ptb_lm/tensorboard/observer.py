"""What an observer is: an object that sees a run, between its steps."""

import dataclasses

from ptb_lm.runs.results import EpochScores


@dataclasses.dataclass(frozen=True)
class Interval:
    """Measurements of the steps since the last point of the curves.

    Attributes:
      step: training steps taken by its end.
      perplexity: over its steps, each with the weights that it met.
      learning_rate: of its last step.
      gradient_norm: of its last step, over all gradients, before clipping.
      clipped_share: share of its steps whose gradients were clipped.
      tokens_per_second: of this epoch's training steps.
    """

    step: int
    perplexity: float
    learning_rate: float
    gradient_norm: float
    clipped_share: float
    tokens_per_second: float


class Observer:
    """Sees a run and must not change it. This base class does nothing.

    A subclass overrides what it needs. Steps count from the beginning of the run, over
    all its processes.
    """

    def steps_to_next(self, step: int) -> int | None:
        """Steps until `after_steps` has something to do.

        Args:
          step: training steps taken.

        Returns:
          At least 1; None: never.
        """
        return None

    def after_steps(self, step: int) -> None:
        """Called between steps, at least when `steps_to_next` asked for it.

        Args:
          step: training steps taken.
        """

    def after_interval(self, interval: Interval) -> None:
        """Called every --log_every_steps steps."""

    def after_epoch(self, scores: EpochScores) -> None:
        """Called after an epoch, once the validation text is scored."""

    def after_training(self, epochs: int) -> None:
        """Called after the last epoch; `epochs` is its number."""

    def flush(self) -> None:
        """Called before each checkpoint: gives the system everything written so far."""

    def close(self) -> None:
        """Called when training has ended."""
