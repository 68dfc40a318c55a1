"""A run from start to finish, or from its last checkpoint on.

Everything that decides the weights is in a checkpoint: the variables, and the
step, which gives the window of text, the learning rate and the dropout masks.
A resumed run therefore repeats an uninterrupted one bit for bit.
"""

import contextlib
import functools
import pathlib
import signal
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.windows import Windows, check_length, training_windows
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import CHUNK_TOKENS
from ptb_lm.model.precision import check_dtype
from ptb_lm.registry import SCHEDULES
from ptb_lm.runs.checkpoint import assign
from ptb_lm.runs.conditions import Conditions
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.position import Position
from ptb_lm.runs.results import Change, Results
from ptb_lm.system import files
from ptb_lm.system.interrupts import Interrupted, Interrupts
from ptb_lm.system.progress import Progress, duration
from ptb_lm.tensorboard.board import check_options, open_board
from ptb_lm.tensorboard.observer import Observer
from ptb_lm.training.accounting import (
    Accounting,
    NotFinite,
    check_finite_arrays,
)
from ptb_lm.training.auto_dtype import with_dtype
from ptb_lm.training.checks import check_model_options, check_training_options
from ptb_lm.training.finish import Scorer, epoch_label, finish_run, results_so_far
from ptb_lm.training.input_pipeline import WindowStream
from ptb_lm.training.memory import check_training
from ptb_lm.training.outlook import Outlook
from ptb_lm.training.restore import Restored, initial_weights, restore_checkpoint
from ptb_lm.training.step import TrainingProgram

CALL_SECONDS = 0.5  # a call of the compiled loop lasts about this long
MAX_STEPS_PER_CALL = 100


def train_and_evaluate(
    config: Config, corpus: Corpus, path: pathlib.Path, progress: Progress
) -> Results:
    """Trains a model, or resumes its training, and scores it.

    Args:
      config: the whole configuration.
      corpus: what to train on.
      path: run folder; one that holds this run already is resumed.
      progress: where progress is shown.

    Returns:
      What results.json holds.

    Raises:
      UserError: the corpus is too short, the memory too small, the folder holds
        another run, is in use or cannot be written, --init_from does not fit, or
        the loss is no longer finite.
      Interrupted: a signal asked to stop; the state was saved.
    """
    folder = RunFolder(path)
    config = with_dtype(config, folder, len(corpus.vocabulary), progress)
    _check(config, corpus)
    if config.training.init_from and not folder.holds_run():
        initial_weights(config, corpus.vocabulary)  # or stop with nothing written
    check_options(config, corpus)
    try:
        folder.open_for_training(config, corpus.vocabulary)
        with Interrupts() as interrupts:
            with progress.phase("Building the model"):
                trainer = Trainer(config, corpus, folder, progress, interrupts)
            return trainer.run()
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(f"out of memory: {files.reason(error)}") from error
    finally:
        progress.clear()
        folder.close()


def _check(config: Config, corpus: Corpus) -> None:
    """Raises UserError where options, machine, memory or corpus do not do."""
    check_model_options(config.model)
    check_training_options(config.training)
    check_dtype(config.model.dtype)
    splits, training = corpus.splits, config.training
    batch = training.batch_size, training.num_steps
    check_length("train", len(splits["train"]), *batch, training.windows)
    for split in ("valid", "test"):
        check_length(split, len(splits[split]), 1, 1)
    scored = min(CHUNK_TOKENS, len(splits["valid"]))
    check_training(config, len(corpus.vocabulary), scored)


class Trainer:
    """One process's part of a run: calls of the compiled loop, epochs, saving."""

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        folder: RunFolder,
        progress: Progress,
        interrupts: Interrupts,
    ):
        training = config.training
        self._config, self._corpus, self._folder = config, corpus, folder
        self._progress, self._interrupts = progress, interrupts
        self._corpus_digest = corpus.digest()
        self._program = TrainingProgram(config, len(corpus.vocabulary))
        self._scorer = Scorer(
            config, corpus, self._program.model, progress, interrupts.check
        )
        self._windows = training_windows(
            corpus.splits["train"], training, corpus.line_end_id(config.data)
        )
        self._stream = WindowStream(self._windows)
        self._schedule = SCHEDULES[training.schedule](training)
        self._accounting = Accounting(Position(), self._windows, training.max_grad_norm)
        self._observer = Observer()
        self._checkpoint: pathlib.Path | None = None
        self._changes: list[Change] = []
        self._conditions = Conditions.of(config)
        self._outlook = Outlook(config, corpus, self._windows)
        self._steps_per_call = 1
        self._compiled = False

    @property
    def _position(self) -> Position:
        return self._accounting.position

    def run(self) -> Results:
        """Trains until the last epoch and returns the results."""
        try:
            return self._run()
        except NotFinite as error:
            raise UserError(
                f"{error} is no longer finite: step {self._position.step}, learning"
                f" rate {self._last_rate():g}, gradient norm"
                f" {self._accounting.last_norm:g};"
                f" {_what_is_kept(self._checkpoint)}; try a lower --learning_rate or"
                " --max_grad_norm"
            ) from error

    def _run(self) -> Results:
        self._restore()
        try:
            if not self._is_finished():
                self._train()
            weights, results = self._program.weights, self._results()
            with self._program.averaged(self._position.step):
                return finish_run(
                    self._folder,
                    self._corpus,
                    results,
                    weights,
                    self._scorer,
                    self._progress,
                )
        except Interrupted as interruption:
            # Of a finished run all is saved, and the weights may be the best ones.
            if self._is_finished():
                interruption.checkpoint = self._checkpoint
            else:
                with self._progress.phase("Saving"):
                    interruption.checkpoint = self._save(best=False)
                self._score_on_interrupt(interruption)
            raise

    def _restore(self) -> None:
        """Takes up the last checkpoint, or the weights that the run starts from."""
        with self._progress.phase("Looking for a checkpoint"):
            restored = restore_checkpoint(
                self._folder,
                self._program.variables(),
                self._corpus_digest,
                self._config,
            )
        init_from = self._config.training.init_from
        if restored is not None:
            self._resume(restored)
        elif init_from:
            weights = initial_weights(self._config, self._corpus.vocabulary)
            assign(self._program.weights, weights)
            self._progress.line(f"Started from the best weights of {init_from}")
        elif self._config.model.softmax_bias_init == "unigram":
            self._program.model.set_unigram_bias(self._corpus.token_counts())
        self._folder.record_options(self._config)

    def _resume(self, restored: Restored) -> None:
        """Goes on from a checkpoint; says and records what changes."""
        self._accounting.position = position = restored.position
        self._checkpoint, self._changes = restored.path, restored.changes
        if self._is_finished():
            self._progress.line(
                f"Trained already, {position.epoch} epochs; --max_max_epoch=N makes the"
                " run longer, another --save_path starts a new one"
            )
        else:
            self._progress.line(
                f"Resumed {self._checkpoint} at epoch {position.epoch + 1}, step"
                f" {position.window} of {self._windows.count(position.epoch)}"
            )
        for note in restored.notes():
            self._progress.line(note)
        if restored.options:
            # Before flags.txt has them: they must not be lost if the process ends now.
            self._save(best=False)
            if position.epochs:  # what was finished may not be so any more
                self._folder.write_results(self._results())

    def _is_finished(self) -> bool:
        """Whether the last epoch is done, or early stopping says so."""
        return self._position.is_end(self._config.training)

    def _train(self) -> None:
        """Trains until the last epoch."""
        position = self._position
        self._observer = open_board(
            self._config,
            self._corpus,
            self._folder.path,
            position.step,
            position.epochs,
            self._program.model,
            functools.partial(_next_gradients, self._program, self._windows, position),
        )
        while not self._is_finished():
            self._train_epoch()
            self._finish_epoch()
        self._observer.close()

    def _train_epoch(self) -> None:
        """Takes the steps that are left of this epoch."""
        position, run = self._position, self._config.run
        if position.window == 0:
            self._program.reset_state()
        batches = self._stream.start_at(position.epoch, position.window)
        count = self._windows.count(position.epoch)
        self._progress.start()
        while position.window < count:
            self._call(batches)
            self._observer.after_steps(position.step)
            if _is_due(position.step, run.log_every_steps):
                interval = self._accounting.end_interval(self._last_rate())
                self._observer.after_interval(interval)
            # The end of an epoch writes its own.
            if position.window < count and _is_due(position.step, run.save_every_steps):
                self._save(best=False)
            self._interrupts.check()

    def _call(self, batches: Iterator) -> None:
        """Takes as many steps as fit into one call and adds up their scores."""
        position, run = self._position, self._config.run
        first = self._accounting.next_step()
        count = min(
            self._steps_per_call,
            first.windows - first.window,
            _steps_to_next(position.step, run.log_every_steps),
            _steps_to_next(position.step, run.save_every_steps),
            self._observer.steps_to_next(position.step) or MAX_STEPS_PER_CALL,
        )
        rates = self._schedule.rates(first, count, position.epochs)
        label = epoch_label(position, self._config.training)
        with contextlib.ExitStack() as stack:
            if not self._compiled:
                stack.enter_context(self._progress.phase(f"{label}, compiling"))
            begin = time.monotonic()
            nats, norms = self._program.train_steps(batches, position.step, rates)
            seconds = time.monotonic() - begin
        # The time of the first call, and of one that was stopped, tells no speed.
        if self._compiled and not self._interrupts.was_stopped():
            speed = CALL_SECONDS * count / seconds
            self._steps_per_call = min(max(round(speed), 1), MAX_STEPS_PER_CALL)
            tokens = self._accounting.add_steps(nats, norms, seconds)
            if outlook := self._outlook.after_steps(position, tokens, seconds):
                self._progress.line(outlook)
        else:
            self._accounting.add_steps(nats, norms, None)
        self._compiled = True
        self._progress.update(
            label,
            position.window,
            first.windows,
            self._accounting.progress_facts(),
            self._accounting.steps_per_second(),
        )

    def _finish_epoch(self) -> None:
        """Evaluates, records the epoch and saves."""
        position = self._position
        label = epoch_label(position, self._config.training)
        with self._program.averaged(position.step):
            scores = self._scorer.epoch(self._accounting, self._last_rate())
            self._accounting.end_epoch(scores)
            with self._progress.phase(f"{label}, writing for TensorBoard"):
                self._observer.after_epoch(scores)
        self._program.average.after_epoch(position.step, position.epochs)
        if self._is_finished():
            self._observer.after_training(position.epoch)
        is_best = position.best() is scores
        with self._progress.phase(f"{label}, saving"):
            self._save(is_best)
        self._folder.write_results(self._results())
        self._progress.line(
            f"{label}: train {scores.train_perplexity:.2f}"
            f"  valid {scores.valid_perplexity:.2f}"
            f"  lr {scores.learning_rate:.4g}"
            f"  {scores.tokens_per_second:,.0f} tokens/s"
            f"  {duration(position.wall_seconds)}" + ("  best" if is_best else "")
        )

    def _save(self, best: bool) -> pathlib.Path:
        """Writes a checkpoint of everything, unless some of it is not finite."""
        arrays = {n: v.numpy() for n, v in self._program.variables().items()}
        check_finite_arrays(arrays)
        self._accounting.wall_seconds()
        self._observer.flush()
        position = self._position
        self._checkpoint = self._folder.checkpoints.save(
            position.step,
            arrays,
            {
                "position": position.to_json(),
                "corpus": self._corpus_digest,
                "averaged": self._program.average.is_active(position.step),
                "changes": [change.to_json() for change in self._changes],
                **self._conditions.to_json(),
            },
            best,
            self._config.run.keep_checkpoints,
        )
        return self._checkpoint

    def _score_on_interrupt(self, interruption: Interrupted) -> None:
        """Scores the present weights where Ctrl-C stops a run that asks for it."""
        wanted = self._config.evaluation.evaluate_on_interrupt
        if wanted and interruption.signal_number == signal.SIGINT:
            self._progress.line(
                f"Saved {interruption.checkpoint}; scoring valid and test (Ctrl-C"
                " stops at once)"
            )
            with self._program.averaged(self._position.step):
                interruption.scores = self._scorer.splits("weights of now")

    def _results(self) -> Results:
        """What is known of the run so far."""
        parameters = self._program.model.count_params()
        return results_so_far(
            self._config, self._corpus, parameters, self._accounting, self._changes
        )

    def _last_rate(self) -> float:
        """Learning rate of the last step."""
        last = self._accounting.last_step()
        return self._schedule.rate(last, self._position.epochs)


def _what_is_kept(checkpoint: pathlib.Path | None) -> str:
    """What there is to go back to, in words."""
    if checkpoint is None:
        return "no checkpoint was written yet"
    return f"the last good checkpoint is {checkpoint}"


def _is_due(step: int, interval: int) -> bool:
    """Whether a step is a multiple of an interval; 0 stands for no interval."""
    return interval > 0 and step % interval == 0


def _steps_to_next(step: int, interval: int) -> int:
    """Steps until the next multiple of an interval; 0 stands for no interval."""
    return interval - step % interval if interval else MAX_STEPS_PER_CALL


def _next_gradients(
    program: TrainingProgram, windows: Windows, position: Position
) -> dict[str, tf.Tensor]:
    """Gradients of the next step, by weight; none after the last of an epoch."""
    if position.window == windows.count(position.epoch):
        return {}
    inputs, targets = windows.read(position.epoch, position.window)
    step = tf.constant(np.int64(position.step))
    return program.gradient_values(tf.constant(inputs), tf.constant(targets), step)
