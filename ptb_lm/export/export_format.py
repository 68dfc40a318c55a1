"""What a format of exporting is: all facts of it in one object."""

import abc
import pathlib

from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun


class ExportFormat(abc.ABC):
    """A format. The members of the registry `EXPORT_FORMATS` are instances.

    Attributes:
      place: name of its file or folder in the run folder.
      by_default: whether it is written at the end of training, and by
        ``--mode=export`` without ``--export_format``.
      reader: the program or library that reads it, for the line on the terminal.
    """

    place: str
    by_default: bool = False
    reader: str

    @abc.abstractmethod
    def write(self, run: TrainedRun, model: LanguageModel, path: pathlib.Path) -> None:
        """Writes the file or folder; nobody reads it before this returns.

        Args:
          run: which weights, and the vocabulary.
          model: with these weights; its recurrent kernel needs no GPU.
          path: where, a name that is not taken yet.

        Raises:
          UserError: the format cannot express this model.
          OSError, tf.errors.OpError: it cannot be written.
        """

    @abc.abstractmethod
    def hint(self, path: pathlib.Path) -> str:
        """Code that reads the export at a path."""
