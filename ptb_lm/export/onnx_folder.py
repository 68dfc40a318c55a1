"""One ONNX file that any ONNX runtime reads, with its vocabulary beside it."""

import pathlib

from ptb_lm.errors import UserError
from ptb_lm.export.reader_facts import StepFormat, write_folder
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun


class OnnxFolder(StepFormat):
    """A folder with model.onnx, the graph of `onnx_step`, and model.json."""

    folder = "onnx"
    reader = "onnxruntime"

    def write(self, run: TrainedRun, model: LanguageModel, path: pathlib.Path) -> None:
        """Writes the folder, see `ExportFormat.write`."""
        try:
            from ptb_lm.export.onnx_step import onnx_step
        except ModuleNotFoundError as error:
            if error.name != "onnx":
                raise
            raise UserError(
                "--export_format=onnx: the package onnx is missing"
                " (pip install 'onnx>=1.23,<2')"
            ) from error
        content = onnx_step(model, int8=self.export_dtype == "int8")
        write_folder(path, "model.onnx", content, run, model, self.export_dtype)

    def hint(self, path: pathlib.Path) -> str:
        """Code that reads it."""
        return f"onnxruntime.InferenceSession({str(path / 'model.onnx')!r})"


FORMAT = OnnxFolder()
