"""What an export format is: one object that knows all about it."""

import abc
import pathlib

from ptb_lm.config import Config
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun


class ExportFormat(abc.ABC):
    """An export format. The members of the registry `EXPORT_FORMATS` are instances.

    Attributes:
      place: name of its file or folder in the run folder.
      by_default: whether the end of training writes it, and ``--mode=export`` without
        ``--export_format``.
      reader: the program or library that reads it; the terminal shows this.
      options: names of the options of `EvaluationConfig` that this format reads and
        others may not.
    """

    place: str
    by_default: bool = False
    reader: str
    options: tuple[str, ...] = ()

    def with_options(self, config: Config) -> "ExportFormat":
        """The format as the options of a command ask for it; by default, itself."""
        return self

    @abc.abstractmethod
    def write(self, run: TrainedRun, model: LanguageModel, path: pathlib.Path) -> None:
        """Writes the file or folder; nobody reads it before this returns.

        Args:
          run: the run, with its vocabulary and its choice of weights.
          model: the model with these weights; its recurrent kernel needs no GPU.
          path: a temporary name, where nothing is yet.

        Raises:
          UserError: the format cannot express this model.
          OSError, tf.errors.OpError: it cannot be written.
        """

    def content(self, run: TrainedRun) -> str:
        """What of the run is in it; the terminal shows this."""
        return f"the {run.kind} weights"

    @abc.abstractmethod
    def hint(self, path: pathlib.Path) -> str:
        """Code that reads the export at a path."""
