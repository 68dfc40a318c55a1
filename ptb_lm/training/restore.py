"""What a run starts from: its last checkpoint, or the weights of another run."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.options import format_value
from ptb_lm.runs.checkpoint import assign
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.position import Position
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files

# Model options that --init_from leaves free.
NOT_OF_SHAPE = (
    "keep_prob",
    "keep_prob_embedding",
    "keep_prob_input",
    "keep_prob_between",
    "keep_prob_output",
    "keep_prob_recurrent",
    "dropout",
    "init_scale",
    "embedding_init",
    "layer_init",
    "softmax_init",
    "softmax_bias_init",
    "forget_bias",
    "rnn_mode",
    "dtype",
)


def restore_checkpoint(
    folder: RunFolder, variables: dict[str, tf.Variable], corpus_digest: str
) -> tuple[Position, pathlib.Path] | None:
    """Takes up a run's last checkpoint.

    Args:
      folder: of the run.
      variables: all that training changes, by checkpoint name; they are set.
      corpus_digest: of the text that the run must have been trained on.

    Returns:
      Where the run is, and the checkpoint's path; None where there is none.

    Raises:
      UserError: it is of another text or of another run.
    """
    checkpoint = folder.checkpoints.load("last")
    if checkpoint is None:
        return None
    if checkpoint.metadata.get("corpus") != corpus_digest:
        raise UserError(
            f"{folder.path} holds a run on another text; give another --save_path"
        )
    try:
        position = Position.from_json(checkpoint.metadata["position"])
        assign(variables, checkpoint.arrays)
    except (LookupError, TypeError, ValueError, UserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{checkpoint.path}: not of this run: {reason}") from error
    position.resumed += 1
    return position, checkpoint.path


def initial_weights(config: Config, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """The best weights of the run that --init_from names.

    Raises:
      UserError: there is no such run, or its vocabulary or shape is another.
    """
    option = f"--init_from={config.training.init_from}"
    path = files.expand_home(config.training.init_from)
    if not RunFolder(path).holds_run():
        raise UserError(f"{option}: no run there (no flags.txt)")
    run = TrainedRun(path)
    theirs, ours = (dataclasses.asdict(c.model) for c in (run.config, config))
    differences = [
        f"--{name}={format_value(theirs[name])} there, {format_value(ours[name])} here"
        for name in ours
        if theirs[name] != ours[name] and name not in NOT_OF_SHAPE
    ]
    if differences:
        raise UserError(f"{option}: another model: {'; '.join(differences)}")
    if run.vocabulary != vocabulary:
        raise UserError(f"{option}: that run has another vocabulary")
    return run.weights
