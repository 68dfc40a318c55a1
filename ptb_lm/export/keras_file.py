"""The model as Keras saves it: one file, which Keras reads where ptb_lm is."""

import pathlib

from ptb_lm.export.export_format import ExportFormat
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun


class KerasFile(ExportFormat):
    """Configuration and weights of the `LanguageModel`, without its vocabulary."""

    place = "model.keras"
    by_default = True
    reader = "Keras"

    def write(self, run: TrainedRun, model: LanguageModel, path: pathlib.Path) -> None:
        """Writes the file, see `ExportFormat.write`."""
        model.save(path)

    def hint(self, path: pathlib.Path) -> str:
        """Code that reads it."""
        return f"keras.saving.load_model({str(path)!r}), after import ptb_lm.model"


FORMAT = KerasFile()
