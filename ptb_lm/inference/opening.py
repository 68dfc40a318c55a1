"""Opens what a run or an export holds as a model of texts."""

import contextlib
import pathlib
from typing import Any

import tensorflow as tf

from ptb_lm import __version__
from ptb_lm.data.corpus import corpus_name
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import trained_model
from ptb_lm.inference.arguments import FUNCTIONS
from ptb_lm.inference.text_model import TextModel
from ptb_lm.runs.folder import RunFolder
from ptb_lm.system.quiet_start import tensorflow_warnings_held_back


def text_model(
    folder: RunFolder, weights: str, results: dict[str, Any] | None = None
) -> TextModel:
    """The trained model of a run, ready to generate and score.

    Args:
      folder: the run.
      weights: "best" or "last".
      results: what results.json holds or will hold; None: read it.

    Raises:
      UserError: as `trained_model`.
    """
    # Where cuDNN is in a graph, the graph needs a GPU.
    model = trained_model(folder, weights, rnn_mode="fused")
    return TextModel(
        model,
        folder.vocabulary(),
        folder.config().data.token_type,
        folder.config().data.normalize,
        metadata=_metadata(folder, model, weights, results),
    )


def _metadata(folder, model, weights, results):
    """What a model should tell of itself, as JSON holds it."""
    config = folder.config()
    if results is None:
        results = {}
        with contextlib.suppress(UserError):  # the first epoch may not be over
            results = folder.read_results().to_json()
    return {
        "project": f"ptb_lm {__version__}",
        "tensorflow": tf.__version__,
        "name": config.run.model,
        "corpus": corpus_name(config.data.data_path),
        "token_type": config.data.token_type,
        "vocabulary_size": model.vocab_size,
        "parameters": model.count_params(),
        "weights": weights,
        "perplexities": results.get(f"{weights}_weights"),
    }


def open_text_model(path: pathlib.Path, weights: str = "best") -> Any:
    """Opens a run folder or a SavedModel of this project.

    A run is read from its checkpoint, so that the weights are those asked for;
    where it has none, from its saved_model.

    Args:
      path: a run folder, or a folder with saved_model.pb.
      weights: "best" or "last", for a run folder.

    Returns:
      A `TextModel`, or the like of it that TensorFlow restored.

    Raises:
      UserError: there is neither there, or it cannot be used.
    """
    if (path / "saved_model.pb").is_file():
        return _load(path)
    folder = RunFolder(path)
    if (path / "checkpoints").is_dir() and folder.holds_run():
        return text_model(folder, weights)
    if (path / "saved_model" / "saved_model.pb").is_file():
        return _load(path / "saved_model")
    if folder.holds_run():
        return text_model(folder, weights)  # says that there is no checkpoint
    raise UserError(
        f"{path}: neither a run (no flags.txt) nor a SavedModel (no saved_model.pb)"
    )


def _load(path: pathlib.Path) -> Any:
    """Restores a SavedModel; UserError where it is damaged or not one of ours."""
    try:
        with tensorflow_warnings_held_back():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # a bad file makes TensorFlow raise almost anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: cannot be loaded: {reason}") from error
    missing = [name for name in FUNCTIONS if not hasattr(loaded, name)]
    if missing:
        raise UserError(
            f"{path}: a SavedModel, but not of this project: no function {missing[0]}"
        )
    return loaded
