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

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.windows import check_length, training_windows
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import CHUNK_TOKENS
from ptb_lm.model.precision import check_dtype
from ptb_lm.registry import SCHEDULES
from ptb_lm.runs.conditions import Conditions
from ptb_lm.runs.folder import OthersFolder, RunFolder
from ptb_lm.runs.position import Position
from ptb_lm.runs.results import Change, EpochScores, Results
from ptb_lm.system import files
from ptb_lm.system.interrupts import Interrupted, Interrupts
from ptb_lm.system.progress import Progress, duration
from ptb_lm.tensorboard.board import check_options, open_board, others_board
from ptb_lm.tensorboard.observer import Observer
from ptb_lm.training import calls
from ptb_lm.training.accounting import (
    Accounting,
    NotFinite,
    check_finite_arrays,
)
from ptb_lm.training.auto_dtype import with_dtype
from ptb_lm.training.checks import check_model_options, check_training_options
from ptb_lm.training.devices import OF_LOST_WORKERS, Devices
from ptb_lm.training.finish import (
    Scorer,
    epoch_label,
    finish_run,
    results_so_far,
    what_is_kept,
)
from ptb_lm.training.input_pipeline import WindowStream
from ptb_lm.training.memory import check_training
from ptb_lm.training.outlook import Outlook
from ptb_lm.training.restore import (
    Restored,
    initial_weights,
    restore_checkpoint,
    set_initial_weights,
)
from ptb_lm.training.step import TrainingProgram, next_gradients


def train_and_evaluate(
    config: Config,
    corpus: Corpus,
    path: pathlib.Path,
    progress: Progress,
    devices: Devices | None = None,
) -> Results:
    """Trains a model, or resumes its training, and scores it.

    Args:
      config: the whole configuration.
      corpus: what to train on.
      path: run folder; one that holds this run already is resumed.
      progress: where progress is shown.
      devices: that share each batch, and the workers that they belong to; None: one.

    Returns:
      What results.json holds.

    Raises:
      UserError: the corpus is too short, the memory too small, the folder holds
        another run, is in use or cannot be written, --init_from does not fit, or
        the loss is no longer finite.
      Interrupted: a signal asked to stop; the state was saved.
    """
    devices = devices or Devices()
    workers, vocab_size = devices.workers, len(corpus.vocabulary)
    folder = RunFolder(path) if workers.is_chief else OthersFolder(path)
    config = with_dtype(config, folder, vocab_size, progress, workers)
    _check(config, corpus, devices)
    if config.training.init_from and not folder.holds_run():
        initial_weights(config, corpus.vocabulary)  # or stop with nothing written
    check_options(config, corpus)
    try:
        folder.open_for_training(config, corpus.vocabulary)
        with Interrupts() as interrupts:
            arguments = config, corpus, folder, progress, interrupts, devices
            with progress.phase("Building the model"):
                trainer = Trainer(*arguments)
            return trainer.run()
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(f"out of memory: {files.reason(error)}") from error
    except OF_LOST_WORKERS as error:
        devices.workers.after_error(error)
        raise
    finally:
        progress.clear()
        folder.close()


def _check(config: Config, corpus: Corpus, devices: Devices) -> None:
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
    vocab_size = len(corpus.vocabulary)
    check_training(config, vocab_size, scored, devices.local, devices.count)


class Trainer:
    """One process's part of a run: calls of the compiled loop, epochs, saving."""

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        folder: RunFolder,
        progress: Progress,
        interrupts: Interrupts,
        devices: Devices | None = None,
    ):
        training, devices = config.training, devices or Devices()
        self._workers = devices.workers
        self._workers.watch(interrupts)
        self._config, self._corpus, self._folder = config, corpus, folder
        self._progress, self._interrupts = progress, interrupts
        self._corpus_digest = corpus.digest()
        self._program = TrainingProgram(config, len(corpus.vocabulary), devices)
        check = functools.partial(self._workers.check_meanwhile, interrupts)
        self._scorer = Scorer(config, corpus, self._program.model, progress, check)
        self._windows = training_windows(
            corpus.splits["train"], training, corpus.line_end_id(config.data)
        )
        self._stream = WindowStream(self._windows)
        self._schedule = SCHEDULES[training.schedule](training)
        self._accounting = Accounting(Position(), self._windows, training.max_grad_norm)
        self._observer = Observer()
        self._checkpoint: pathlib.Path | None = None
        self._changes: list[Change] = []
        self._conditions = Conditions.of(config, devices.count)
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
                f" {what_is_kept(self._checkpoint)}; try a lower --learning_rate or"
                " --max_grad_norm"
            ) from error

    def _run(self) -> Results:
        self._restore()
        try:
            if not self._is_finished():
                self._train()
            weights, results = self._program.weights, self._results()
            with self._program.averaged(self._position.step):
                finish = functools.partial(
                    finish_run, self._folder, self._corpus, results, weights
                )
                return self._workers.from_chief(
                    lambda: finish(self._scorer, self._progress), Results
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
            restored = self._workers.from_chief(
                lambda: restore_checkpoint(
                    self._folder,
                    self._program.variables(),
                    self._corpus_digest,
                    self._config,
                    self._conditions,
                ),
                Restored,
            )
        program, progress = self._program, self._progress
        if restored is None and self._workers.is_chief:
            set_initial_weights(program, self._config, self._corpus, progress)
        if self._workers.count > 1:
            with progress.phase("Handing out the weights"):
                program.follow_chief(restored.arrays if restored else program.arrays())
        if restored is not None:
            self._resume(restored)
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
        position, program = self._position, self._program
        gradients = functools.partial(next_gradients, program, self._windows, position)
        if self._workers.is_chief:
            self._observer = open_board(
                self._config,
                self._corpus,
                self._folder.path,
                position.step,
                position.epochs,
                program.model,
                gradients,
            )
        else:
            self._observer = others_board(self._config, program.model, gradients)
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
            if calls.is_due(position.step, run.log_every_steps):
                interval = self._accounting.end_interval(self._last_rate())
                self._observer.after_interval(interval)
            # The end of an epoch writes its own.
            if position.window < count and calls.is_due(
                position.step, run.save_every_steps
            ):
                self._save(best=False)
            self._workers.check(self._interrupts)

    def _call(self, batches: Iterator) -> None:
        """Takes as many steps as fit into one call and adds up their scores."""
        position, run = self._position, self._config.run
        first = self._accounting.next_step()
        count = min(
            self._steps_per_call,
            first.windows - first.window,
            calls.steps_to_next(position.step, run.log_every_steps),
            calls.steps_to_next(position.step, run.save_every_steps),
            self._observer.steps_to_next(position.step) or calls.MAX_STEPS_PER_CALL,
        )
        count = min(self._workers.collect(count))
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
            self._steps_per_call = calls.steps_a_call(count, seconds)
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
            rate = self._last_rate()
            scores = self._workers.from_chief(
                lambda: self._scorer.epoch(self._accounting, rate), EpochScores
            )
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
        arrays = self._program.arrays()
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
        wanted = wanted and self._workers.is_chief
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
