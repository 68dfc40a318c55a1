"""What a run measures beside its steps: scores of weights, and its results."""

import contextlib
import dataclasses
import pathlib
import statistics
from collections.abc import Callable, Iterator

import tensorflow as tf

from ptb_lm.config import Config, TrainingConfig
from ptb_lm.data.corpus import Corpus
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.metrics import Score
from ptb_lm.evaluation.plain import Plain
from ptb_lm.export.exporter import export_run
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.checkpoint import assign
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.position import Position
from ptb_lm.runs.provenance import provenance
from ptb_lm.runs.results import (
    Change,
    EpochScores,
    Results,
    SplitScores,
    TextRecord,
)
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system.progress import Progress, Update
from ptb_lm.tensorboard.curves import write_test_score
from ptb_lm.tensorboard.projector import write_embeddings
from ptb_lm.training.accounting import Accounting, check_finite
from ptb_lm.training.cost import token_flop


class Scorer:
    """Scores the present weights of a model on the corpus that it is trained on."""

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        model: LanguageModel,
        progress: Progress,
        check: Callable[[], None],
    ):
        """Makes the evaluator.

        Args:
          config: the run's.
          corpus: the valid and test text.
          model: what is scored.
          progress: where it is shown how far the scoring is.
          check: called often while it works.
        """
        self._config, self._splits = config, corpus.splits
        self._evaluator = Evaluator(Plain(model, config))
        self._progress, self._check = progress, check

    def valid(self, label: str) -> Score:
        """Score of the validation text, counted as the tutorial counts.

        Args:
          label: of the progress.
        """
        training = self._config.training
        batch = training.batch_size, training.num_steps
        with self._shown(label) as after_chunk:
            return self._evaluator.tutorial(self._splits["valid"], *batch, after_chunk)

    def _exact(self, split: str, label: str) -> Score:
        """Score of every token of a text except the first."""
        with self._shown(label) as after_chunk:
            return self._evaluator.exact(self._splits[split], after_chunk)

    @contextlib.contextmanager
    def _shown(self, label: str) -> Iterator[Update]:
        """What to call after every chunk of a text."""
        with self._progress.phase(label) as update:

            def after_chunk(done: int, total: int) -> None:
                update(done, total)
                self._check()

            yield after_chunk

    def epoch(self, accounting: Accounting, rate: float) -> EpochScores:
        """What there is to say of an epoch after its last step.

        Args:
          accounting: of its steps.
          rate: learning rate of its last step.

        Raises:
          NotFinite: a perplexity.
        """
        position = accounting.position
        epoch = epoch_label(position, self._config.training)
        valid, train = self.valid(f"{epoch}, validating"), accounting.train_score()
        figures = {
            "learning_rate": rate,
            "train_perplexity": train.perplexity,
            "valid_perplexity": valid.perplexity,
            "tokens_per_second": accounting.tokens_per_second(),
            "wall_seconds": accounting.wall_seconds(),
        }
        figures |= self._bits(train=train, valid=valid)
        check_finite(figures)
        return EpochScores(epoch=position.epoch + 1, step=position.step, **figures)

    def splits(self, weights: str) -> SplitScores:
        """Scores of valid and test.

        Args:
          weights: what to call them: "last weights".

        Raises:
          NotFinite: a perplexity.
        """
        label = f"Scoring the {weights}"
        valid = self.valid(f"{label}, valid")
        exact = self._exact("valid", f"{label}, valid exactly")
        test = self._exact("test", f"{label}, test")
        figures = {
            "valid_perplexity": valid.perplexity,
            "valid_perplexity_exact": exact.perplexity,
            "test_perplexity": test.perplexity,
        }
        figures |= self._bits(valid=valid, test=test)
        check_finite(figures)
        return SplitScores(**figures)

    def _bits(self, **scores: Score) -> dict[str, float]:
        """Bits per character or byte by split; nothing of a model of words."""
        kind = {"char": "character", "byte": "byte"}.get(self._config.data.token_type)
        if not kind:
            return {}
        return {
            f"{split}_bits_per_{kind}": score.bits_per_token
            for split, score in scores.items()
        }


def epoch_label(position: Position, training: TrainingConfig) -> str:
    """What progress calls the epoch that is under way."""
    return f"Epoch {position.epoch + 1}/{training.max_max_epoch}"


def results_so_far(
    config: Config,
    corpus: Corpus,
    parameters: int,
    accounting: Accounting,
    changes: list[Change],
) -> Results:
    """What is known of a run after some epochs, at least one.

    Args:
      config: the run's.
      corpus: what it is trained on.
      parameters: number of trained weights.
      accounting: of its steps.
      changes: what changed where it was resumed.
    """
    position = accounting.position
    best = position.best()
    flop = token_flop(config.model, len(corpus.vocabulary))
    return Results(
        model=config.run.model,
        corpus=corpus.name,
        vocabulary_size=len(corpus.vocabulary),
        parameters=parameters,
        seed=config.training.seed,
        finished=False,
        epochs=list(position.epochs),
        tokens_per_second=statistics.median(
            scores.tokens_per_second for scores in position.epochs
        ),
        best_epoch=best.epoch if best else None,
        wall_seconds=position.wall_seconds,
        resumed=position.resumed,
        changes=changes,
        floor_perplexity=corpus.floor_perplexity,
        texts=_records(corpus),
        training_flop=flop * accounting.trained_tokens(),
        **provenance(),
    )


def _records(corpus: Corpus) -> dict[str, TextRecord]:
    """What is recorded of the texts of a corpus, by split."""
    return {
        split: TextRecord(
            len(ids), corpus.unknown_shares[split], corpus.split_digests[split]
        )
        for split, ids in corpus.splits.items()
    }


def finish_run(
    folder: RunFolder,
    corpus: Corpus,
    results: Results,
    weights: dict[str, tf.Variable],
    scorer: Scorer,
    progress: Progress,
) -> Results:
    """Scores the last and the best weights, and writes what is made of them, once.

    The test score and the embedding for TensorBoard, the exports and results.json.

    Args:
      folder: of the run.
      corpus: what it was trained on.
      results: from `results_so_far`.
      weights: the model's, as they are after the last step; the best ones after
        this.
      scorer: of that model.
      progress: where what takes long is shown.

    Returns:
      What results.json holds.
    """
    with contextlib.suppress(UserError):  # missing or damaged: written anew
        recorded = folder.read_results()
        if recorded.finished:
            return recorded
    last = best = scorer.splits("last weights")
    run = TrainedRun(folder.path, "best")
    if results.best_epoch != len(results.epochs):
        assign(weights, run.weights)
        best = scorer.splits("best weights")
    write_embeddings(
        folder.path,
        run.weights["embedding"],
        corpus.vocabulary,
        corpus.token_counts(),
    )
    results = dataclasses.replace(
        results, finished=True, last_weights=last, best_weights=best
    )
    write_test_score(folder.path, results)
    run.results = results  # what the export tells; it is written when all is done
    with progress.phase("Exporting the best weights"):
        export_run(run)
    folder.write_results(results)
    return results


def what_is_kept(checkpoint: pathlib.Path | None) -> str:
    """What a run that fails can go back to, in words; None: there is no checkpoint."""
    if checkpoint is None:
        return "no checkpoint was written yet"
    return f"the last good checkpoint is {checkpoint}"
