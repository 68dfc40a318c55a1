"""A run from start to finish, or on from where it stopped.

Everything that decides the weights is in a checkpoint: the variables, and the
step, which gives the window of text, the learning rate and the dropout masks.
A resumed run therefore repeats an uninterrupted one to the bit.
"""

import contextlib
import dataclasses
import math
import pathlib
import signal
import statistics
import time
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.data.windows import check_length, count_windows
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import CHUNK_TOKENS, Evaluator
from ptb_lm.evaluation.metrics import Score
from ptb_lm.export.saved_model import export_run
from ptb_lm.model.precision import check_dtype
from ptb_lm.options import format_value
from ptb_lm.runs.checkpoint import assign
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.provenance import provenance
from ptb_lm.runs.results import Results
from ptb_lm.system import files
from ptb_lm.system.interrupts import Interrupted, Interrupts
from ptb_lm.system.progress import Progress, duration
from ptb_lm.tensorboard.board import Workbench, check_options
from ptb_lm.tensorboard.projector import write_embeddings
from ptb_lm.training import optimizers
from ptb_lm.training.input_pipeline import windows
from ptb_lm.training.memory import check_training
from ptb_lm.training.step import TrainingProgram

CALL_SECONDS = 0.5  # a call of the compiled loop lasts about this long
MAX_STEPS_PER_CALL = 100
# Model options that --init_from leaves free.
NOT_OF_SHAPE = (
    "keep_prob",
    "dropout",
    "init_scale",
    "forget_bias",
    "rnn_mode",
    "dtype",
)


EPOCH_FIGURES = (
    "epoch",
    "step",
    "learning_rate",
    "train_perplexity",
    "valid_perplexity",
    "tokens_per_second",
)


@dataclasses.dataclass
class Position:
    """Where a run is, and what it has measured: what JSON can hold of its state.

    Attributes:
      step: training steps taken.
      epoch: of the next step, from 0.
      window: of the next step, within the epoch.
      epoch_nats: sum of nats over this epoch's steps so far.
      interval_nats: the same since the last point of the curves.
      interval_steps: steps since then.
      interval_clipped: of these, the steps whose gradients were clipped.
      timed_tokens: tokens of this epoch's steps that were timed.
      timed_seconds: the time these took.
      wall_seconds: time spent on the run by all its processes.
      resumed: how often the run was resumed.
      epochs: what was measured after each epoch.
    """

    step: int = 0
    epoch: int = 0
    window: int = 0
    epoch_nats: float = 0.0
    interval_nats: float = 0.0
    interval_steps: int = 0
    interval_clipped: int = 0
    timed_tokens: int = 0
    timed_seconds: float = 0.0
    wall_seconds: float = 0.0
    resumed: int = 0
    epochs: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        """Checks what a file says; TypeError or LookupError where it cannot be."""
        for field in dataclasses.fields(self):
            if field.name != "epochs":
                kinds = (type(field.default),)
                _check_figure(field.name, getattr(self, field.name), kinds)
        if type(self.epochs) is not list or len(self.epochs) != self.epoch:
            raise TypeError(f"epochs is {str(self.epochs)[:50]}")
        for figures in self.epochs:
            for name in EPOCH_FIGURES:
                _check_figure(name, figures[name], (int, float))

    def best_epoch(self) -> int | None:
        """Index into `epochs` of the lowest valid perplexity."""
        scores = [epoch["valid_perplexity"] for epoch in self.epochs]
        return scores.index(min(scores)) if scores else None


def _check_figure(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Raises TypeError unless a figure is finite and not negative."""
    is_number = type(value) in kinds and 0 <= value < math.inf
    if not is_number or (type(value) is int and value >= 2**63):
        raise TypeError(f"{name} is {value!r:.50}")


def train_and_evaluate(
    config: Config, corpus: Corpus, path: pathlib.Path, progress: Progress
) -> dict[str, Any]:
    """Trains a model, or goes on training it, and scores it.

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
    check_dtype(config.model.dtype)
    batch = config.training.batch_size, config.training.num_steps
    check_length("train", len(corpus.splits["train"]), *batch, config.training.windows)
    check_length("valid", len(corpus.splits["valid"]), *batch)
    check_length("test", len(corpus.splits["test"]), 1, 1)
    scored = min(CHUNK_TOKENS, len(corpus.splits["valid"]))
    check_training(config, len(corpus.vocabulary), scored)
    folder = RunFolder(path)
    if config.training.init_from and not folder.holds_run():
        initial_weights(config, corpus.vocabulary)  # or stop with nothing written
    check_options(config, corpus)
    try:
        folder.open_for_training(config, corpus.vocabulary)
        with Interrupts() as interrupts:
            return Training(config, corpus, folder, progress, interrupts).run()
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(f"out of memory: {files.reason(error)}") from error
    finally:
        progress.clear()
        folder.close()


def initial_weights(config: Config, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """The best weights of the run that --init_from names.

    Raises:
      UserError: there is no such run, or its vocabulary or shape is another.
    """
    option = f"--init_from={config.training.init_from}"
    folder = RunFolder(files.expand_home(config.training.init_from))
    if not folder.holds_run():
        raise UserError(f"{option}: no run there (no flags.txt)")
    theirs, ours = (dataclasses.asdict(c.model) for c in (folder.config(), config))
    differences = [
        f"--{name}={format_value(theirs[name])} there, {format_value(ours[name])} here"
        for name in ours
        if theirs[name] != ours[name] and name not in NOT_OF_SHAPE
    ]
    if differences:
        raise UserError(f"{option}: another model: {'; '.join(differences)}")
    if folder.vocabulary() != vocabulary:
        raise UserError(f"{option}: that run has another vocabulary")
    return folder.weights("best")


class Training:
    """One process's part of a run."""

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        folder: RunFolder,
        progress: Progress,
        interrupts: Interrupts,
    ):
        self._config = config
        self._corpus = corpus
        self._corpus_digest = corpus.digest()
        self._folder = folder
        self._progress = progress
        self._interrupts = interrupts
        self._program = TrainingProgram(config, len(corpus.vocabulary))
        self._evaluator = Evaluator(self._program.model)
        self._position = Position()
        self._started = time.monotonic()
        self._steps_per_call = 1
        self._compiled = False
        self._last_norm = 0.0
        self._checkpoint: pathlib.Path | None = None
        self._workbench: Workbench | None = None
        training = config.training
        self._window_tokens = training.batch_size * training.num_steps
        text = corpus.splits["train"], training.batch_size, training.num_steps
        self._windows = windows(
            *text,
            place=lambda: (self._position.epoch, self._position.window),
            seed=training.seed if training.windows == "random" else None,
        )
        self._num_windows = count_windows(len(text[0]), *text[1:], training.windows)

    def run(self) -> dict[str, Any]:
        """Trains until the last epoch and returns the results."""
        self._restore()
        try:
            if not self._is_finished():
                self._train()
            return self._finish_run()
        except Interrupted as interruption:
            # Of a finished run all is saved, and the weights may be the best ones.
            if self._is_finished():
                interruption.checkpoint = self._checkpoint
            else:
                interruption.checkpoint = self._save(best=False)
                self._score_on_interrupt(interruption)
            raise

    def _score_on_interrupt(self, interruption: Interrupted) -> None:
        """Scores the present weights where Ctrl-C stops a run that asks for it."""
        wanted = self._config.evaluation.evaluate_on_interrupt
        if wanted and interruption.signal_number == signal.SIGINT:
            self._progress.line(
                f"Saved {interruption.checkpoint}; scoring valid and test (Ctrl-C"
                " stops at once)"
            )
            interruption.scores = self._score_splits()

    def _train(self) -> None:
        """Trains until the last epoch."""
        position = self._position
        self._workbench = Workbench(
            self._config,
            self._corpus,
            self._program,
            self._windows,
            self._folder.path,
            position.step,
            position.epochs,
        )
        while not self._is_finished():
            self._train_epoch()
            self._finish_epoch()
        self._workbench.close()

    def _restore(self) -> None:
        """Takes up the last checkpoint, or the weights of --init_from."""
        checkpoint = self._folder.checkpoints.load("last")
        if checkpoint is not None:
            if checkpoint.metadata.get("corpus") != self._corpus_digest:
                raise UserError(
                    f"{self._folder.path} holds a run on another text; give another"
                    " --save_path"
                )
            try:
                self._position = Position(**checkpoint.metadata["position"])
                assign(self._program.variables(), checkpoint.arrays)
            except (LookupError, TypeError, UserError) as error:
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{checkpoint.path}: not of this run: {reason}"
                ) from error
            self._position.resumed += 1
            self._checkpoint = checkpoint.path
            if not self._is_finished():
                self._progress.line(f"Resumed {checkpoint.path} at {self._place()}")
        elif self._config.training.init_from:
            weights = initial_weights(self._config, self._corpus.vocabulary)
            assign(self._program.weights, weights)
            self._progress.line(
                f"Started from the best weights of {self._config.training.init_from}"
            )

    def _is_finished(self) -> bool:
        """Whether the last epoch is done, or early stopping says so."""
        position, training = self._position, self._config.training
        if position.epoch >= training.max_max_epoch:
            return True
        patience, best = training.early_stopping, position.best_epoch()
        return (
            bool(patience)
            and best is not None
            and (position.epoch - 1 - best >= patience)
        )

    def _train_epoch(self) -> None:
        """Takes the steps that are left of this epoch."""
        position, training = self._position, self._config.training
        if position.window == 0:
            self._program.reset_state()
        rate = optimizers.learning_rate(training, position.epoch)
        batches = iter(self._windows)
        self._progress.start()
        while position.window < self._num_windows:
            self._call(batches, rate)
            self._workbench.after_steps(position.step)
            if position.step % self._config.run.log_every_steps == 0:
                self._log_interval(rate)
            if self._is_time_to_save():
                self._save(best=False)
            self._interrupts.check()

    def _is_time_to_save(self) -> bool:
        """Whether a checkpoint is due; the end of an epoch writes its own."""
        position, interval = self._position, self._config.run.save_every_steps
        is_due = interval and position.step % interval == 0
        return bool(is_due) and position.window < self._num_windows

    def _call(self, batches, rate: float) -> None:
        """Takes as many steps as fit into one call and adds up their scores."""
        position = self._position
        count = min(
            self._steps_per_call,
            self._num_windows - position.window,
            _steps_to_next(position.step, self._config.run.log_every_steps),
            _steps_to_next(position.step, self._config.run.save_every_steps),
            self._workbench.steps_to_next(position.step) or MAX_STEPS_PER_CALL,
        )
        begin = time.monotonic()
        # As NumPy's numbers: TensorFlow keeps a tensor of every one of Python's.
        nats, norms = self._program.train_steps(
            batches,
            tf.constant(np.int32(count)),
            tf.constant(np.int64(position.step)),
            tf.constant(np.float32(rate)),
        )
        nats, norms = nats.numpy(), norms.numpy()
        seconds = time.monotonic() - begin
        for step_nats, norm in zip(nats.tolist(), norms.tolist(), strict=True):
            self._take_in(step_nats, norm)
        if self._compiled:
            position.timed_tokens += count * self._window_tokens
            position.timed_seconds += seconds
            speed = CALL_SECONDS * count / seconds
            self._steps_per_call = min(max(round(speed), 1), MAX_STEPS_PER_CALL)
        self._compiled = True
        self._show_progress()

    def _take_in(self, nats: float, norm: float) -> None:
        """Adds one step's measurements; stops a run whose loss is not finite."""
        position = self._position
        if not (math.isfinite(nats) and math.isfinite(norm)):
            loss = f"the loss, {nats / self._window_tokens:g} nats a token,"
            raise self._not_finite(loss, position.step + 1, norm)
        position.step += 1
        position.window += 1
        position.epoch_nats += nats
        position.interval_nats += nats
        position.interval_steps += 1
        position.interval_clipped += norm > self._config.training.max_grad_norm
        self._last_norm = norm

    def _not_finite(self, what: str, step: int, norm: float) -> UserError:
        """Says what stopped being finite and what there is to go back to."""
        rate = optimizers.learning_rate(self._config.training, self._position.epoch)
        kept = "no checkpoint was written yet"
        if self._checkpoint:
            kept = f"the last good checkpoint is {self._checkpoint}"
        return UserError(
            f"{what} is no longer finite: step {step}, learning rate {rate:g},"
            f" gradient norm {norm:g}; {kept}; try a lower --learning_rate or"
            " --max_grad_norm"
        )

    def _wall_seconds(self) -> float:
        """Time spent on the run by all its processes up to now."""
        now = time.monotonic()
        self._position.wall_seconds += now - self._started
        self._started = now
        return self._position.wall_seconds

    def _train_score(self) -> Score:
        """Score of this epoch's steps so far, each with the weights it met."""
        position = self._position
        return Score(position.epoch_nats, position.window * self._window_tokens)

    def _tokens_per_second(self) -> float:
        """Speed of this epoch's training steps, evaluation not counted."""
        tokens, seconds = self._position.timed_tokens, self._position.timed_seconds
        return tokens / seconds if seconds else 0.0

    def _show_progress(self) -> None:
        """Updates the progress line."""
        position, speed = self._position, self._tokens_per_second()
        facts = f"perplexity {self._train_score().perplexity:.2f}"
        if speed:
            facts += f"  {speed:,.0f} tokens/s"
        self._progress.update(
            f"Epoch {position.epoch + 1}/{self._config.training.max_max_epoch}",
            position.window,
            self._num_windows,
            facts,
            speed / self._window_tokens,
        )

    def _log_interval(self, rate: float) -> None:
        """Writes a point of the curves over steps."""
        position = self._position
        score = Score(
            position.interval_nats, position.interval_steps * self._window_tokens
        )
        self._workbench.scalars(
            "train",
            position.step,
            {
                "step/perplexity": score.perplexity,
                "step/learning_rate": rate,
                "step/gradient_norm": self._last_norm,
                "step/clipped_share": (
                    position.interval_clipped / position.interval_steps
                ),
                "step/tokens_per_second": self._tokens_per_second(),
            },
        )
        position.interval_nats = 0.0
        position.interval_steps = position.interval_clipped = 0

    def _measure_epoch(self) -> dict[str, Any]:
        """Evaluates on the valid text and puts the epoch's figures together."""
        position, training = self._position, self._config.training
        valid = self._evaluator.tutorial(
            self._corpus.splits["valid"],
            training.batch_size,
            training.num_steps,
            self._interrupts.check,
        )
        epoch = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "learning_rate": optimizers.learning_rate(training, position.epoch),
            "train_perplexity": self._train_score().perplexity,
            "valid_perplexity": valid.perplexity,
            "tokens_per_second": self._tokens_per_second(),
            "wall_seconds": self._wall_seconds(),
        }
        epoch |= self._bits(train=self._train_score(), valid=valid)
        self._check_finite(epoch)
        return epoch

    def _bits(self, **scores: Score) -> dict[str, float]:
        """Bits per character by split, of a model of characters; else nothing."""
        if self._config.data.token_type != "char":
            return {}
        return {
            f"{split}_bits_per_character": score.bits_per_token
            for split, score in scores.items()
        }

    def _check_finite(self, figures: dict[str, float]) -> None:
        """Raises UserError where a figure is not finite."""
        for name, value in figures.items():
            if not math.isfinite(value):
                what = f"the {name.replace('_', ' ')}, {value:g},"
                raise self._not_finite(what, self._position.step, self._last_norm)

    def _finish_epoch(self) -> None:
        """Evaluates, records the epoch and saves."""
        position = self._position
        epoch = self._measure_epoch()
        position.epochs.append(epoch)
        self._workbench.epoch(epoch)
        best = position.best_epoch() == position.epoch
        position.epoch += 1
        position.window = 0
        position.epoch_nats = 0.0
        position.timed_tokens, position.timed_seconds = 0, 0.0
        if self._is_finished():
            self._workbench.end_session(position.epoch)
        self._save(best)
        self._folder.write_results(Results.from_json(self._results()))
        self._progress.line(
            f"Epoch {epoch['epoch']}/{self._config.training.max_max_epoch}:"
            f" train {epoch['train_perplexity']:.2f}"
            f"  valid {epoch['valid_perplexity']:.2f}"
            f"  lr {epoch['learning_rate']:.4g}"
            f"  {epoch['tokens_per_second']:,.0f} tokens/s"
            f"  {duration(position.wall_seconds)}" + ("  best" if best else "")
        )

    def _save(self, best: bool) -> pathlib.Path:
        """Writes a checkpoint of everything, unless some of it is not finite."""
        arrays = {n: v.numpy() for n, v in self._program.variables().items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                step = self._position.step
                raise self._not_finite(name, step, self._last_norm)
        self._wall_seconds()
        self._workbench.flush()
        metadata = {
            "position": dataclasses.asdict(self._position),
            "corpus": self._corpus_digest,
        }
        self._checkpoint = self._folder.checkpoints.save(
            self._position.step,
            arrays,
            metadata,
            best,
            self._config.run.keep_checkpoints,
        )
        return self._checkpoint

    def _results(self) -> dict[str, Any]:
        """What is known of the run so far, for results.json."""
        position = self._position
        best = position.best_epoch()
        return {
            "model": self._config.run.model,
            "corpus": self._corpus.name,
            "vocabulary_size": len(self._corpus.vocabulary),
            "parameters": self._program.model.count_params(),
            "seed": self._config.training.seed,
            "floor_perplexity": self._corpus.floor_perplexity,
            "finished": False,
            "epochs": position.epochs,
            "tokens_per_second": statistics.median(
                epoch["tokens_per_second"] for epoch in position.epochs
            ),
            "best_epoch": None if best is None else best + 1,
            "wall_seconds": position.wall_seconds,
            "resumed": position.resumed,
            **provenance(),
        }

    def _finish_run(self) -> dict[str, Any]:
        """Scores the last and the best weights, once."""
        with contextlib.suppress(UserError):  # missing or damaged: written anew
            results = self._folder.read_results()
            if results.finished:
                return results.to_json()
        results = self._results() | {"finished": True}
        results["last_weights"] = results["best_weights"] = self._score_splits()
        if results["best_epoch"] != len(results["epochs"]):
            assign(self._program.weights, self._folder.weights("best"))
            results["best_weights"] = self._score_splits()
        write_embeddings(
            self._folder.path,
            self._folder.weights("best")["embedding"],
            self._corpus.vocabulary,
            self._corpus.splits["train"],
        )
        export_run(self._folder, "best", results)
        self._folder.write_results(Results.from_json(results))
        return results

    def _score_splits(self) -> dict[str, float]:
        """Perplexities of the present weights, by split and way of counting."""
        training, splits = self._config.training, self._corpus.splits
        check = self._interrupts.check
        valid = self._evaluator.tutorial(
            splits["valid"], training.batch_size, training.num_steps, check
        )
        scores = {
            "valid_perplexity": valid,
            "valid_perplexity_exact": self._evaluator.exact(splits["valid"], check),
            "test_perplexity": self._evaluator.exact(splits["test"], check),
        }
        figures = {name: score.perplexity for name, score in scores.items()}
        figures |= self._bits(valid=valid, test=scores["test_perplexity"])
        self._check_finite(figures)
        return figures

    def _place(self) -> str:
        """Where the run is, in words."""
        position = self._position
        return (
            f"epoch {position.epoch + 1}, step {position.window} of {self._num_windows}"
        )


def _steps_to_next(step: int, interval: int) -> int:
    """Steps until the next multiple of an interval; 0 stands for no interval."""
    return interval - step % interval if interval else MAX_STEPS_PER_CALL
