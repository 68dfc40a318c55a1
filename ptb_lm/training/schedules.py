"""Learning-rate schedules: a rate for every training step."""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ptb_lm.config import TrainingConfig
from ptb_lm.runs.results import EpochScores


@dataclasses.dataclass(frozen=True)
class StepPosition:
    """Where a step is in a training.

    Attributes:
      step: its number, from 0.
      epoch: from 0.
      window: that it trains on, within the epoch, from 0.
      windows: of that epoch; another one may have more or fewer.
    """

    step: int
    epoch: int
    window: int
    windows: int


class Schedule:
    """Gives the learning rate of each step.

    A schedule is a subclass that defines `rates`; the members of the registry
    `SCHEDULES` are such classes. The rates must depend on the arguments of `rates` and
    on the configuration alone: a resumed run then has the rates of an uninterrupted
    one.

    Attributes:
      options: options of `TrainingConfig` that this schedule reads and others may not.
      follows_length: whether the rates depend on max_max_epoch, so that a longer run
        does not begin with the steps of a shorter one.
      config: learning_rate and the other options of the training.
    """

    options: ClassVar[tuple[str, ...]] = ()
    follows_length: ClassVar[bool] = False

    def __init__(self, config: TrainingConfig):
        """Takes the configuration."""
        self.config = config

    def rates(
        self, first: StepPosition, count: int, history: Sequence[EpochScores]
    ) -> np.ndarray:
        """Learning rates of consecutive steps of one epoch.

        Args:
          first: where the first step is.
          count: number of steps, at least 1; all belong to the same epoch.
          history: the scores of each epoch before this one.

        Returns:
          float64 [count]. The step rounds them to float32.
        """
        raise NotImplementedError

    def rate(self, position: StepPosition, history: Sequence[EpochScores]) -> float:
        """Learning rate of one step.

        Args:
          position: where it is.
          history: the scores of each epoch so far. The schedule sees those before the
            step's own epoch.
        """
        return float(self.rates(position, 1, history[: position.epoch])[0])


class Constant(Schedule):
    """The same rate for all steps."""

    def rates(
        self, first: StepPosition, count: int, history: Sequence[EpochScores]
    ) -> np.ndarray:
        """As `Schedule.rates`."""
        return np.full(count, self.config.learning_rate)


class Zaremba(Schedule):
    """The initial rate for max_epoch + 1 epochs, then lr_decay times less each epoch.

        learning_rate * lr_decay ** max(epoch - max_epoch, 0)

    with epoch from 0: the code of Zaremba et al. (2014) and the first form of the PTB
    tutorial. The published perplexities belong to it.
    """

    full_epochs_more = 1

    def rates(
        self, first: StepPosition, count: int, history: Sequence[EpochScores]
    ) -> np.ndarray:
        """As `Schedule.rates`; the same for every step of an epoch."""
        full_epochs = self.config.max_epoch + self.full_epochs_more
        decays = max(first.epoch + 1 - full_epochs, 0)
        return np.full(count, self.config.learning_rate * self.config.lr_decay**decays)


class Tutorial(Zaremba):
    """The initial rate for max_epoch epochs: the later form of the PTB tutorial.

        learning_rate * lr_decay ** max(epoch + 1 - max_epoch, 0)

    with epoch from 0. The tutorial kept the table of published perplexities when it
    changed to this form.
    """

    full_epochs_more = 0


class Plateau(Schedule):
    """lr_decay times less whenever valid has not improved for `patience` epochs.

    An epoch improves valid if its perplexity is below that of all epochs before. After
    a decay the epochs are counted anew. (PyTorch's ReduceLROnPlateau with `patience`
    one less and no threshold.)
    """

    options = ("patience",)

    def rates(
        self, first: StepPosition, count: int, history: Sequence[EpochScores]
    ) -> np.ndarray:
        """As `Schedule.rates`; the same for every step of an epoch."""
        best, waited, decays = math.inf, 0, 0
        for scores in history:
            if scores.valid_perplexity < best:
                best, waited = scores.valid_perplexity, 0
            else:
                waited += 1
            if waited == self.config.patience:
                waited, decays = 0, decays + 1
        return np.full(count, self.config.learning_rate * self.config.lr_decay**decays)


class Cosine(Schedule):
    """Up to the full rate in a line, and down from it in half a cosine.

        rate_n = learning_rate * (start + (1 - start) * n / warm)             n <= warm
        rate_n = learning_rate * (final_rate + (1 - final_rate)
                                  * (1 + cos(pi * (n - 1 - warm) / (all - warm))) / 2)

    with n, from 1, the number of the step, `all` the steps of max_max_epoch epochs and
    warm = warmup * all. (Loshchilov and Hutter 2017, equation 5, without restarts;
    the warm-up is that of Goyal et al. 2017, section 2.2.) Both n / all and
    (n - 1) / all are counted as shares of the training, an epoch being an equal share
    however many windows it has.
    """

    options = ("warmup", "final_rate")
    follows_length = True
    start = 0.0

    def rates(
        self, first: StepPosition, count: int, history: Sequence[EpochScores]
    ) -> np.ndarray:
        """As `Schedule.rates`."""

        def share(window: int) -> float:
            done = first.epoch + window / first.windows
            return done / self.config.max_max_epoch

        # One by one: NumPy's functions of many numbers may differ in the last bit
        # with their place among them.
        windows = range(first.window, first.window + count)
        factors = [self._factor(share(w), share(w + 1)) for w in windows]
        return self.config.learning_rate * np.array(factors)

    def _factor(self, before: float, after: float) -> float:
        """Of a step, from the shares of the training before and after it."""
        warmup, final = self.config.warmup, self.config.final_rate
        if before < warmup:
            return self.start + (1.0 - self.start) * min(after / warmup, 1.0)
        return final + (1.0 - final) * self.fall((before - warmup) / (1.0 - warmup))

    def fall(self, progress: float) -> float:
        """How much of the way down is left, from 1 to 0.

        Args:
          progress: share of the way that is behind, in [0, 1).
        """
        return (1.0 + math.cos(math.pi * progress)) / 2.0


class Linear(Cosine):
    """As `Cosine`, but down in a line: 1 - (n - 1 - warm) / (all - warm)."""

    def fall(self, progress: float) -> float:
        """As `Cosine.fall`."""
        return 1.0 - progress


class OneCycle(Cosine):
    """As `Cosine`, but up from a 25th of the rate, for a good part of the training.

    (Smith 2018, section 4.1, "1cycle". The start and the way down are those of
    fast.ai's fit_one_cycle; but that rises along a cosine too, and ends above zero. The
    momentum is not cycled.)
    """

    start = 1.0 / 25.0
