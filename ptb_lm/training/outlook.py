"""How long a training will take, told once its first steps are timed."""

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.windows import Windows
from ptb_lm.runs.position import Position
from ptb_lm.system.progress import rough_duration

TIMED_SECONDS = 5.0  # of steps, before their speed is taken for that of the run
LONG_SECONDS = 600.0  # of what is left; a shorter training is over before long
# Evaluation takes the forward pass alone: a third of the arithmetic, see `cost`.
COST_OF_SCORING = 1 / 3


class Outlook:
    """Waits for the speed of the steps, and says what is to come, once.

    The scores after every epoch and at the end count too, as far as their arithmetic
    goes. That text samples and exports take time is not counted.
    """

    def __init__(self, config: Config, corpus: Corpus, windows: Windows):
        """Takes what is trained, and on what."""
        self._training = config.training
        self._windows = windows
        tokens = {split: len(ids) for split, ids in corpus.splits.items()}
        self._scored_each_epoch = tokens["valid"]
        # The last and the best weights: valid in two ways, and test.
        self._scored_at_the_end = 2 * (2 * tokens["valid"] + tokens["test"])
        self._tokens, self._seconds = 0, 0.0
        self._is_told = False

    def after_steps(self, position: Position, tokens: int, seconds: float) -> str:
        """Takes some steps into account.

        Args:
          position: where the run is after them.
          tokens: that they trained on.
          seconds: that they took.

        Returns:
          What to tell now; empty: nothing.
        """
        self._tokens += tokens
        self._seconds += seconds
        if self._is_told or self._seconds < TIMED_SECONDS:
            return ""
        self._is_told = True
        left = self._seconds_left(position)
        return self._in_words(position, left) if left >= LONG_SECONDS else ""

    def _seconds_left(self, position: Position) -> float:
        """What is left of the run at the speed so far, an epoch as long as this one."""
        epoch, windows = position.epoch, self._windows
        epochs = self._training.max_max_epoch - epoch
        tokens = epochs * windows.tokens(epoch, windows.count(epoch))
        tokens -= windows.tokens(epoch, position.window)
        scored = epochs * self._scored_each_epoch + self._scored_at_the_end
        return (tokens + COST_OF_SCORING * scored) * self._seconds / self._tokens

    def _in_words(self, position: Position, seconds: float) -> str:
        """The epochs that are to come, and the time."""
        every = self._training.max_max_epoch
        epochs = f"{every - position.epoch} of {every} epochs left"
        if position.epoch == 0:
            epochs = f"{every} epoch{'s' * (every > 1)}"
        most = "at most " * (self._training.early_stopping > 0)
        return f"{most}{epochs}, about {rough_duration(seconds)} on this machine"
