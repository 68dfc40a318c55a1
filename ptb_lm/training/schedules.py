"""Learning-rate schedules: a rate for every training step."""

from collections.abc import Sequence

import numpy as np

from ptb_lm.config import TrainingConfig
from ptb_lm.runs.results import EpochScores


class Schedule:
    """Gives the learning rate of each step.

    A schedule is a subclass that defines `rates`; the members of the registry
    `SCHEDULES` are such classes. The rates must depend on the arguments of `rates` and
    on the configuration alone: a resumed run then has the rates of an uninterrupted
    one.

    Attributes:
      config: learning_rate and the other options of the training.
      windows_per_epoch: number of steps of an epoch. Step s, counted from 0, belongs to
        epoch s // windows_per_epoch and trains on window s % windows_per_epoch. A run
        has at most max_max_epoch * windows_per_epoch steps.
    """

    def __init__(self, config: TrainingConfig, windows_per_epoch: int):
        """Takes the configuration and the number of steps of an epoch."""
        self.config = config
        self.windows_per_epoch = windows_per_epoch

    def rates(
        self, first: int, count: int, history: Sequence[EpochScores]
    ) -> np.ndarray:
        """Learning rates of consecutive steps of one epoch.

        Args:
          first: number of the first step, counted from 0 over the whole run.
          count: number of steps, at least 1; all belong to the same epoch.
          history: the scores of each epoch before this one.

        Returns:
          float64 [count]. The step rounds them to float32.
        """
        raise NotImplementedError

    def rate(self, step: int, history: Sequence[EpochScores]) -> float:
        """Learning rate of one step.

        Args:
          step: its number, counted from 0 over the whole run.
          history: the scores of each epoch so far. The schedule sees those before the
            step's own epoch.
        """
        epochs = history[: step // self.windows_per_epoch]
        return float(self.rates(step, 1, epochs)[0])


class Zaremba(Schedule):
    """The initial rate for max_epoch + 1 epochs, then lr_decay times less each epoch.

        learning_rate * lr_decay ** max(epoch - max_epoch, 0)

    with epoch from 0: the code of Zaremba et al. (2014) and the first form of the PTB
    tutorial. The published perplexities belong to it.
    """

    full_epochs_more = 1

    def rates(
        self, first: int, count: int, history: Sequence[EpochScores]
    ) -> np.ndarray:
        """As `Schedule.rates`; the same for every step of an epoch."""
        full_epochs = self.config.max_epoch + self.full_epochs_more
        decays = max(first // self.windows_per_epoch + 1 - full_epochs, 0)
        return np.full(count, self.config.learning_rate * self.config.lr_decay**decays)


class Tutorial(Zaremba):
    """The initial rate for max_epoch epochs: the later form of the PTB tutorial.

        learning_rate * lr_decay ** max(epoch + 1 - max_epoch, 0)

    with epoch from 0. The tutorial kept the table of published perplexities when it
    changed to this form.
    """

    full_epochs_more = 0
