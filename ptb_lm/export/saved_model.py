"""One SavedModel that generates and scores text, with TensorFlow alone."""

import pathlib

from ptb_lm.export.export_format import ExportFormat
from ptb_lm.inference.opening import text_model
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun


class SavedModel(ExportFormat):
    """A folder with the functions of `TextModel`."""

    place = "saved_model"
    by_default = True
    reader = "TensorFlow"

    def write(self, run: TrainedRun, model: LanguageModel, path: pathlib.Path) -> None:
        """Writes the folder, see `ExportFormat.write`."""
        text_model(run, model).save(path)

    def hint(self, path: pathlib.Path) -> str:
        """Code that reads it."""
        return f'tf.saved_model.load({str(path)!r}).generate(["..."])'


FORMAT = SavedModel()
