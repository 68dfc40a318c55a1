"""What a run shows in TensorBoard besides its scalars, and when."""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.tensorboard import hparams
from ptb_lm.tensorboard.events import Summaries
from ptb_lm.tensorboard.profile import Profile
from ptb_lm.tensorboard.text_samples import TextSamples, prompts
from ptb_lm.training.step import TrainingProgram


def check_options(config: Config, corpus: Corpus) -> None:
    """Raises UserError where an option of TensorBoard's cannot be carried out."""
    prompts(config, corpus)
    Profile(config.tensorboard.profile_steps, pathlib.Path())


class Workbench(Summaries):
    """Everything that one process writes for TensorBoard while it trains."""

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        program: TrainingProgram,
        batches: tf.data.Dataset,
        folder: pathlib.Path,
        step: int,
        epochs: list[dict[str, Any]],
    ):
        """Opens the event files.

        Args:
          config: the run's.
          corpus: what is trained on.
          program: what is trained.
          batches: what it reads next, at whatever step it is iterated.
          folder: of the run.
          step: as `Summaries` takes it.
          epochs: likewise.
        """
        columns = hparams.columns(config, corpus.name)
        super().__init__(folder, step, epochs, corpus.floor_perplexity, columns)
        self._program = program
        self._next_batch = batches.take(1)
        self._every = config.tensorboard.histograms_every_steps
        self._profile = Profile(config.tensorboard.profile_steps, folder)
        self._profile.at(step)
        self._samples = None
        if config.tensorboard.sample_tokens:
            self._samples = TextSamples(program.model, corpus, config)

    def epoch(self, epoch: dict[str, Any]) -> None:
        """Writes an epoch's perplexities, and what the model writes by now."""
        super().epoch(epoch)
        if self._samples:
            self.text(epoch["epoch"], "epoch/samples", self._samples.markdown())

    def close(self) -> None:
        """Closes the files."""
        self._profile.stop()
        super().close()

    def steps_to_next(self, step: int) -> int | None:
        """Steps until there is something to do between steps; None: never."""
        bounds = self._profile.steps_to_next(step)
        if self._every:
            bounds.append(self._every - step % self._every)
        return min(bounds, default=None)

    def after_steps(self, step: int) -> None:
        """Does what is due after so many steps."""
        self._profile.at(step)
        if self._every and step % self._every == 0:
            self._write_histograms(step)

    def _write_histograms(self, step: int) -> None:
        """Writes the distributions of the weights and of the next gradients."""
        values = {f"weights/{n}": v for n, v in self._program.weights.items()}
        for inputs, targets in self._next_batch:
            gradients = self._gradients(inputs, targets, tf.constant(np.int64(step)))
            values |= {f"gradients/{name}": g for name, g in gradients.items()}
        self.histograms(step, values)

    @tf.function(autograph=False, reduce_retracing=True)
    def _gradients(self, inputs, targets, step):
        """Gradients by variable; of the embedding, the rows of words read."""
        _, _, gradients = self._program.gradients(inputs, targets, step)
        return {
            name: g.values if isinstance(g, tf.IndexedSlices) else g
            for name, g in gradients.items()
        }
