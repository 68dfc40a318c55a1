"""What a run starts from: its last checkpoint, or the weights of another run."""

import dataclasses
import pathlib
from typing import Any, Self

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.model.softmax import have_same_weights, softmax_of
from ptb_lm.options import format_value
from ptb_lm.registry import SCHEDULES
from ptb_lm.runs.checkpoint import Checkpoint, assign
from ptb_lm.runs.conditions import Conditions, changed, in_words
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.position import Position
from ptb_lm.runs.results import Change
from ptb_lm.runs.run_options import LENGTH, may_change
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files
from ptb_lm.system.progress import Progress
from ptb_lm.training.step import TrainingProgram

_CHANGES = ("earlier", "options", "rounding")


@dataclasses.dataclass(frozen=True)
class Restored:
    """A run as its last checkpoint has it, and what is different from now on.

    Attributes:
      position: where the run is.
      path: the checkpoint.
      earlier: what changed when the run was resumed before.
      options: options that change here.
      rounding: what changes here of what the last bits depend on.
      arrays: all that training changes, by checkpoint name; the chief alone has them.
    """

    position: Position
    path: pathlib.Path
    earlier: list[Change]
    options: list[Change]
    rounding: list[Change]
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All but the arrays, for the other workers."""
        lists = {n: [c.to_json() for c in getattr(self, n)] for n in _CHANGES}
        return {
            "position": self.position.to_json(),
            "path": str(self.path),
            **lists,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`."""
        earlier, options, rounding = (
            [Change.from_json(change) for change in values[name]] for name in _CHANGES
        )
        path = pathlib.Path(values["path"])
        position = Position.from_json(values["position"])
        return cls(position, path, earlier, options, rounding)

    @property
    def changes(self) -> list[Change]:
        """All changes, in the order in which they came."""
        return self.earlier + self.options + self.rounding

    def notes(self) -> list[str]:
        """What to tell of the changes that come now, a line each."""
        notes = []
        if self.options:
            notes.append(f"From here on: {in_words(self.options)}")
        if self.rounding:
            notes.append(
                "The last bits will not be those of an uninterrupted run:"
                f" {in_words(self.rounding)}"
            )
        return notes


def restore_checkpoint(
    folder: RunFolder,
    variables: dict[str, tf.Variable],
    corpus_digest: str,
    config: Config,
    now: Conditions,
) -> Restored | None:
    """Takes up a run's last checkpoint.

    Args:
      folder: of the run.
      variables: all that training changes, by checkpoint name; they are set.
      corpus_digest: of the text that the run must have been trained on.
      config: by which the run goes on.
      now: the conditions of the steps to come.

    Returns:
      Where the run is, and what changes; None where there is no checkpoint.

    Raises:
      UserError: it is of another text or of another run, or cannot go on by this
        configuration, or under --strict_resume not to the bit.
    """
    checkpoint = folder.checkpoints.load("last")
    if checkpoint is None:
        return None
    if checkpoint.metadata.get("corpus") != corpus_digest:
        raise UserError(
            f"{folder.path} holds a run on another text; give another --save_path"
        )
    stored = Conditions.of(folder.config())
    try:
        restored = _restored(checkpoint, stored, config, now)
        assign(variables, checkpoint.arrays)
    except (LookupError, TypeError, ValueError, UserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{checkpoint.path}: not of this run: {reason}") from error
    check_changes(folder.path, restored, config)
    restored.position.resumed += 1
    return restored


def _restored(
    checkpoint: Checkpoint, stored: Conditions, config: Config, now: Conditions
) -> Restored:
    """What the metadata of a checkpoint say.

    Args:
      checkpoint: the last one.
      stored: by flags.txt; of a checkpoint of an older version it tells the options.
      config: by which the run goes on.
      now: the conditions of the steps to come.

    Raises:
      LookupError, TypeError, ValueError: these are not such metadata.
    """
    metadata = checkpoint.metadata
    position = Position.from_json(metadata["position"])
    before = Conditions.from_json(metadata)
    rounding = changed(before.rounding, now.rounding, position.step)
    if position.is_end(config.training):  # no step is rounded any more
        rounding = []
    return Restored(
        position,
        checkpoint.path,
        [Change.from_json(each) for each in metadata.get("changes", [])],
        changed(before.options or stored.options, now.options, position.step),
        rounding,
        checkpoint.arrays,
    )


def check_changes(path: pathlib.Path, restored: Restored, config: Config) -> None:
    """Raises UserError where a run cannot go on with what changes.

    Args:
      path: its folder.
      restored: from its last checkpoint.
      config: by which it is to go on.
    """
    names = [change.name.removeprefix("--") for change in restored.options]
    fixed = [change for change in restored.options if not may_change(change.name[2:])]
    if fixed:
        raise UserError(
            f"{path}/flags.txt does not have the options of the checkpoint any more:"
            f" {in_words(fixed)}"
        )
    if LENGTH in names:
        _check_length(path, restored, config)
    if restored.rounding and config.run.strict_resume:
        raise UserError(
            f"--strict_resume: {path} cannot go on to the bit here:"
            f" {in_words(restored.rounding)}; --nostrict_resume resumes it all the same"
        )


def _check_length(path: pathlib.Path, restored: Restored, config: Config) -> None:
    """Raises UserError where a run cannot have another number of epochs."""
    position, training = restored.position, config.training
    begun = position.epoch + (position.window > 0)
    if training.max_max_epoch < begun:
        raise UserError(
            f"--max_max_epoch={training.max_max_epoch}: {path} is in epoch {begun}"
            " already"
        )
    if SCHEDULES[training.schedule].follows_length and not config.run.change_options:
        raise UserError(
            f"--max_max_epoch={training.max_max_epoch}: with"
            f" --schedule={training.schedule} the number of epochs decides the learning"
            f" rate of every step, and {path} has taken {position.step:,} steps by"
            " another; --change_options goes on at the new rates"
        )


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
    if not run.folder.checkpoints.exist("best"):
        raise UserError(f"{option}: no 'best' checkpoint yet: no epoch has ended there")
    theirs, ours = run.config.model, config.model
    if have_same_weights(softmax_of(theirs), softmax_of(ours)):
        theirs = dataclasses.replace(theirs, softmax=ours.softmax)
    differences = [
        f"--{field.name}={format_value(getattr(theirs, field.name))} there,"
        f" {format_value(getattr(ours, field.name))} here"
        for field in dataclasses.fields(ours)
        if field.metadata["shapes_weights"]
        and getattr(theirs, field.name) != getattr(ours, field.name)
    ]
    if differences:
        raise UserError(f"{option}: another model: {'; '.join(differences)}")
    if run.vocabulary != vocabulary:
        raise UserError(
            f"{option}: that run has another vocabulary;"
            f" --vocabulary_from={config.training.init_from} uses it for this corpus"
        )
    return run.weights


def set_initial_weights(
    program: TrainingProgram, config: Config, corpus: Corpus, progress: Progress
) -> None:
    """Sets the weights that a run starts from, where they are not random.

    Args:
      program: whose weights are set.
      config: with --init_from and --softmax_bias_init.
      corpus: what it will be trained on.
      progress: where it is told.

    Raises:
      UserError: as `initial_weights`.
    """
    if init_from := config.training.init_from:
        assign(program.weights, initial_weights(config, corpus.vocabulary))
        progress.line(f"Started from the best weights of {init_from}")
    elif config.model.softmax_bias_init == "unigram":
        program.model.set_unigram_bias(corpus.token_counts())
