"""Opens a run or an export as a model that reads and writes text."""

import json
import pathlib
from typing import Any

import tensorflow as tf

from ptb_lm import __version__
from ptb_lm.data.corpus import corpus_name
from ptb_lm.errors import UserError
from ptb_lm.evaluation.method import Scorable
from ptb_lm.inference.arguments import FIRST_FORMAT, FUNCTIONS
from ptb_lm.inference.exported import Exported
from ptb_lm.inference.scoring import RowIndependent
from ptb_lm.inference.text_model import FORMAT, TextModel
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system.quiet_start import tensorflow_warnings_held_back


def text_model(run: TrainedRun, model: LanguageModel | None = None) -> TextModel:
    """The trained model of a run, ready to generate and score.

    Args:
      run: the run, with its choice of weights.
      model: the model with these weights; None: make it here.

    Raises:
      UserError: as `TrainedRun.model`.
    """
    # Where cuDNN is in a graph, the graph needs a GPU.
    model = model or run.model(rnn_mode="fused")
    data = run.config.data
    return TextModel(
        model, run.vocabulary, data.token_type, data.normalize, metadata(run, model)
    )


def metadata(run: TrainedRun, model: LanguageModel) -> dict[str, Any]:
    """The metadata of an export, as JSON can hold it."""
    scores = None
    if run.results is not None:
        results = run.results
        scores = {"best": results.best_weights, "last": results.last_weights}[run.kind]
    return {
        "project": f"ptb_lm {__version__}",
        "tensorflow": tf.__version__,
        "name": run.config.run.model,
        "corpus": corpus_name(run.config.data.data_path),
        "token_type": run.config.data.token_type,
        "vocabulary_size": model.vocab_size,
        "parameters": model.count_params(),
        "weights": run.kind,
        "perplexities": scores.to_json() if scores else None,
    }


def open_text_model(path: pathlib.Path, weights: str = "best") -> Any:
    """Opens a run folder or a SavedModel of this project.

    A run is read from its checkpoint, so that the weights are those asked for;
    where it has none, from its saved_model.

    Args:
      path: a run folder, or a folder with saved_model.pb.
      weights: "best" or "last". An export that is not of the last weights is refused
        with "last".

    Returns:
      A `TextModel`, or the like of it that TensorFlow restored.

    Raises:
      UserError: there is neither there, or it cannot be used.
    """
    if (path / "saved_model.pb").is_file():
        return _load(path, weights)
    is_run = (path / "flags.txt").is_file()
    if not is_run or not (path / "checkpoints").is_dir():
        if (path / "saved_model" / "saved_model.pb").is_file():
            return _load(path / "saved_model", weights)
        if not is_run:
            raise UserError(
                f"{path}: neither a run (no flags.txt) nor a SavedModel"
                " (no saved_model.pb)"
            )
    return text_model(TrainedRun(path, weights))


def _load(path: pathlib.Path, weights: str) -> Any:
    """Restores a SavedModel; UserError where it is damaged or not what is wanted."""
    try:
        with tensorflow_warnings_held_back():
            loaded = tf.saved_model.load(str(path))
        facts = told_by(loaded) if hasattr(loaded, "metadata") else {}
    except Exception as error:  # a bad file makes TensorFlow raise almost anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: cannot be loaded: {reason}") from error
    found = facts.get("format", 1)
    if found > FORMAT:
        raise UserError(
            f"{path}: an export of format {found}, made by a newer version"
            f" ({facts.get('project')}); this one reads formats up to {FORMAT}"
        )
    expected = [name for name in FUNCTIONS if FIRST_FORMAT.get(name, 1) <= found]
    missing = [name for name in expected if not hasattr(loaded, name)]
    if missing:
        raise UserError(
            f"{path}: a SavedModel, but not of this project: no function {missing[0]}"
        )
    if weights == "last" and facts.get("weights") == "best":
        raise UserError(
            f"--weights=last: {path} has the best weights; --mode=export --weights=last"
            " exports the others"
        )
    return loaded


def told_by(model: Any) -> dict[str, Any]:
    """The metadata of a model from `open_text_model`."""
    return json.loads(model.metadata()["json"].numpy())


def scorable(model: Any) -> Scorable:
    """A model from `open_text_model` as evaluation methods see it."""
    if isinstance(model, TextModel):
        return RowIndependent(model.keras_model())
    return Exported(model)
