"""What is added up while a run trains: nats, speed, time."""

import math
import time

import numpy as np

from ptb_lm.data.windows import Windows
from ptb_lm.evaluation.metrics import Score
from ptb_lm.runs.position import Position
from ptb_lm.runs.results import EpochScores
from ptb_lm.tensorboard.observer import Interval
from ptb_lm.training.schedules import StepPosition


class NotFinite(Exception):
    """Something that must be finite is not; the message says what."""


def check_finite(figures: dict[str, float]) -> None:
    """Raises NotFinite where a figure is not finite; its name has underscores."""
    for name, value in figures.items():
        if not math.isfinite(value):
            raise NotFinite(f"the {name.replace('_', ' ')}, {value:g},")


def check_finite_arrays(arrays: dict[str, np.ndarray]) -> None:
    """Raises NotFinite where an element of an array is not finite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise NotFinite(name)


class Accounting:
    """Keeps a run's position up to date.

    Attributes:
      position: where the run is.
      last_norm: global norm of the gradients of this process's last step.
    """

    def __init__(self, position: Position, windows: Windows, max_grad_norm: float):
        """Starts the clock.

        Args:
          position: where the run is.
          windows: of its epochs.
          max_grad_norm: gradients of a larger norm were clipped.
        """
        self.position = position
        self.last_norm = 0.0
        self._windows, self._max_grad_norm = windows, max_grad_norm
        self._clock = time.monotonic()

    def add_steps(
        self, nats: np.ndarray, norms: np.ndarray, seconds: float | None
    ) -> int:
        """Adds a call of the compiled loop, one step after the other.

        Args:
          nats: of each step, summed over its tokens, [count].
          norms: of each step's gradients, [count].
          seconds: that the call took; None: it is not to be timed.

        Returns:
          The tokens that they trained on.

        Raises:
          NotFinite: a step's nats or norm; the position then counts that step.
        """
        for step_nats, norm in zip(nats.tolist(), norms.tolist(), strict=True):
            self._add_step(step_nats, norm)
        tokens = self._tokens_of_last(len(nats))
        if seconds is not None:
            self.position.timed_tokens += tokens
            self.position.timed_seconds += seconds
        return tokens

    def _add_step(self, nats: float, norm: float) -> None:
        """Adds what one step measured."""
        position = self.position
        position.step += 1
        position.window += 1
        self.last_norm = norm
        if not (math.isfinite(nats) and math.isfinite(norm)):
            nats_per_token = nats / self._tokens_of_last(1)
            raise NotFinite(f"the loss, {nats_per_token:g} nats a token,")
        position.epoch_nats += nats
        position.interval_nats += nats
        position.interval_steps += 1
        position.interval_clipped += norm > self._max_grad_norm

    def wall_seconds(self) -> float:
        """Time spent on the run by all its processes up to now."""
        now = time.monotonic()
        self.position.wall_seconds += now - self._clock
        self._clock = now
        return self.position.wall_seconds

    def train_score(self) -> Score:
        """Score of this epoch's steps so far, each with the weights it met."""
        return Score(self.position.epoch_nats, self._epoch_tokens())

    def trained_tokens(self) -> int:
        """Tokens of all training steps so far."""
        windows, epochs = self._windows, range(self.position.epoch)
        whole = sum(windows.tokens(epoch, windows.count(epoch)) for epoch in epochs)
        return whole + self._epoch_tokens()

    def tokens_per_second(self) -> float:
        """Speed of this epoch's training steps, evaluation not counted; 0: unknown."""
        tokens, seconds = self.position.timed_tokens, self.position.timed_seconds
        return tokens / seconds if seconds else 0.0

    def steps_per_second(self) -> float:
        """The same in steps, as long as those of this epoch on average."""
        speed = self.tokens_per_second()
        return speed * self.position.window / self._epoch_tokens() if speed else 0.0

    def progress_facts(self) -> str:
        """Perplexity and speed of this epoch so far, for the progress line."""
        speed = self.tokens_per_second()
        facts = f"perplexity {self.train_score().perplexity:.2f}"
        return f"{facts}  {speed:,.0f} tokens/s" if speed else facts

    def end_interval(self, rate: float) -> Interval:
        """What was measured since the last point of the curves; the next one begins.

        Args:
          rate: learning rate of the last step.
        """
        position = self.position
        tokens = self._tokens_of_last(position.interval_steps)
        interval = Interval(
            step=position.step,
            perplexity=Score(position.interval_nats, tokens).perplexity,
            learning_rate=rate,
            gradient_norm=self.last_norm,
            clipped_share=position.interval_clipped / position.interval_steps,
            tokens_per_second=self.tokens_per_second(),
        )
        position.interval_nats = 0.0
        position.interval_steps = position.interval_clipped = 0
        return interval

    def next_step(self) -> StepPosition:
        """Where the next step is."""
        position = self.position
        windows = self._windows.count(position.epoch)
        return StepPosition(position.step, position.epoch, position.window, windows)

    def last_step(self) -> StepPosition:
        """Where the last step was; the next where none was taken."""
        next_one = self.next_step()
        step, epoch, window = next_one.step - 1, next_one.epoch, next_one.window - 1
        if step < 0:
            return next_one
        if window < 0:
            epoch -= 1
            window = self._windows.count(epoch) - 1
        return StepPosition(step, epoch, window, self._windows.count(epoch))

    def _epoch_tokens(self) -> int:
        """Tokens of this epoch's steps so far."""
        return self._windows.tokens(self.position.epoch, self.position.window)

    def _tokens_of_last(self, steps: int) -> int:
        """Tokens of the last steps, which may reach back into epochs before."""
        epoch, window, tokens = self.position.epoch, self.position.window, 0
        while steps > window:
            tokens += self._windows.tokens(epoch, window)
            epoch, steps = epoch - 1, steps - window
            window = self._windows.count(epoch)
        rest = self._windows.tokens(epoch, window - steps)
        return tokens + self._windows.tokens(epoch, window) - rest

    def end_epoch(self, scores: EpochScores) -> None:
        """Adds the scores of this epoch to the history, and starts the next epoch."""
        position = self.position
        position.epochs.append(scores)
        position.epoch += 1
        position.window = 0
        position.epoch_nats = 0.0
        position.timed_tokens, position.timed_seconds = 0, 0.0
