"""What TensorBoard shows of a run: the observers of one process, as one."""

import pathlib
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorboard.plugins.hparams import metadata

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.results import EpochScores
from ptb_lm.tensorboard.curves import TEST, Curves
from ptb_lm.tensorboard.events import FLOOR, RUN, TRAIN, VALID, Events
from ptb_lm.tensorboard.histograms import Histograms
from ptb_lm.tensorboard.hparams import HParams, columns
from ptb_lm.tensorboard.observer import Interval, Observer
from ptb_lm.tensorboard.profile import Profile, profiled_steps
from ptb_lm.tensorboard.text_samples import TextSamples, prompts

# What is told of a run at its end. One that goes on was ended too early, or was ended
# and is given more epochs.
AT_THE_END = (TEST, metadata.SESSION_END_INFO_TAG)


def check_options(config: Config, corpus: Corpus) -> None:
    """Raises UserError where an option of TensorBoard's cannot be carried out."""
    prompts(config, corpus)
    if config.tensorboard.profile_steps:
        profiled_steps(config.tensorboard.profile_steps)


class Board(Observer):
    """Passes each call on to several observers, and owns their event files."""

    def __init__(self, events: Events, observers: Sequence[Observer]):
        """Takes the files, and the observers in the order in which they are called."""
        self._events, self._observers = events, observers

    def steps_to_next(self, step: int) -> int | None:
        """The least of what the observers say."""
        asked = [observer.steps_to_next(step) for observer in self._observers]
        return min((steps for steps in asked if steps is not None), default=None)

    def after_steps(self, step: int) -> None:
        """Passes it on."""
        for observer in self._observers:
            observer.after_steps(step)

    def after_interval(self, interval: Interval) -> None:
        """Passes it on."""
        for observer in self._observers:
            observer.after_interval(interval)

    def after_epoch(self, scores: EpochScores) -> None:
        """Passes it on."""
        for observer in self._observers:
            observer.after_epoch(scores)

    def after_training(self, epochs: int) -> None:
        """Passes it on."""
        for observer in self._observers:
            observer.after_training(epochs)

    def flush(self) -> None:
        """Passes it on, then flushes the files."""
        for observer in self._observers:
            observer.flush()
        self._events.flush()

    def close(self) -> None:
        """Passes it on, then closes the files."""
        for observer in self._observers:
            observer.close()
        self._events.close()


def open_board(
    config: Config,
    corpus: Corpus,
    folder: pathlib.Path,
    step: int,
    epochs: Sequence[EpochScores],
    model: LanguageModel,
    gradients: Callable[[], dict[str, tf.Tensor]],
) -> Board:
    """Opens the event files, with an observer for each thing that an option asks for.

    Args:
      config: the run's.
      corpus: what is trained on.
      folder: of the run.
      step: as `Events` takes it.
      epochs: likewise.
      model: what is trained.
      gradients: as `Histograms` takes it.
    """
    options, floor = config.tensorboard, corpus.floor_perplexity
    parts = (RUN, TRAIN, VALID) if floor is None else (RUN, TRAIN, VALID, FLOOR)
    events = Events(folder, step, epochs, parts, dropped=AT_THE_END)
    observers = [
        HParams(events, columns(config, corpus.name), folder.resolve().name),
        Curves(events, floor, epochs),
    ]
    if options.sample_tokens:
        observers.append(TextSamples(events, model, corpus, config))
    if options.profile_steps:
        profiled = profiled_steps(options.profile_steps)
        observers.append(Profile(profiled, folder, step))
    if options.histograms_every_steps:
        weights = model.named_variables()
        every = options.histograms_every_steps
        observers.append(Histograms(events, every, weights, gradients))
    return Board(events, observers)


class _NoEvents(Events):
    """Takes the events of a worker that is not the chief."""

    def __init__(self) -> None:
        pass

    def histograms(self, part: str, step: int, values: dict[str, tf.Tensor]) -> None:
        """Nobody sees them."""


def others_board(
    config: Config,
    model: LanguageModel,
    gradients: Callable[[], dict[str, tf.Tensor]],
) -> Observer:
    """The observers of a worker that is not the chief, which write nothing.

    They compute what needs all workers: the gradients of the histograms.

    Args:
      config: the run's.
      model: what is trained.
      gradients: as `Histograms` takes it.
    """
    every = config.tensorboard.histograms_every_steps
    if not every:
        return Observer()
    return Histograms(_NoEvents(), every, model.named_variables(), gradients)
