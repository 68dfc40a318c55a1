"""One step of the model for LiteRT, once called TensorFlow Lite: for a phone."""

import pathlib

import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from ptb_lm.errors import UserError
from ptb_lm.export.reader_facts import StepFormat, write_folder
from ptb_lm.inference.state_layout import StateLayout, step
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system.quiet_start import native_stderr_held_back


class LiteRT(StepFormat):
    """A folder with model.tflite, which has built-in operators alone, and model.json.

    The model reads one token of one row: ids, int32 [1, 1], and state, float32
    [1, width]. It gives log_probabilities, float32 [1, 1, vocabulary], and state. Where
    its weights are int8, so are the inputs of the matrix products, by the range that
    they have at each step.
    """

    folder = "litert"
    reader = "LiteRT"

    def write(self, run: TrainedRun, model: LanguageModel, path: pathlib.Path) -> None:
        """Writes the folder, see `ExportFormat.write`."""
        if model.matmul_dtype is not None:  # LiteRT multiplies no bfloat16
            model = run.model(rnn_mode="fused", dtype="float32")
        content = litert_step(model, int8=self.export_dtype == "int8")
        write_folder(path, "model.tflite", content, run, model, self.export_dtype)

    def hint(self, path: pathlib.Path) -> str:
        """Code that reads it."""
        return f"ai_edge_litert.interpreter.Interpreter({str(path / 'model.tflite')!r})"


FORMAT = LiteRT()


def litert_step(model: LanguageModel, int8: bool) -> bytes:
    """The file of a float32 model; its one signature has the names of `LiteRT`.

    Raises:
      UserError: the built-in operators cannot express the model.
    """
    layout = StateLayout(model)
    function = tf.function(
        lambda ids, state: step(model, layout, ids, state),
        input_signature=[
            tf.TensorSpec([1, 1], tf.int32, "ids"),
            tf.TensorSpec([1, layout.width], tf.float32, "state"),
        ],
        autograph=False,
    ).get_concrete_function()
    module = tf.Module()
    module.weights = list(model.named_variables().values())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # With one scale for each row, the file would hold a tied matrix twice: what
        # reads the embedding takes one scale for all.
        converter._experimental_disable_per_channel = model.options.tied
    with native_stderr_held_back():
        try:
            return converter.convert()
        except ConverterError as error:
            raise UserError(
                "--export_format=litert: LiteRT's built-in operators cannot express"
                f" --cell={model.options.cell}"
            ) from error
