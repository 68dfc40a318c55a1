"""``--mode=train``: trains a model, or resumes its training, and evaluates it.

It imports TensorFlow after it has read the corpus, so that it reports a wrong path at
once.
"""

import pathlib
import shlex

from ptb_lm.commands.corpora import corpus_lines, corpus_warnings
from ptb_lm.commands.downloads import download_shown
from ptb_lm.commands.mode import Mode
from ptb_lm.config import (
    Config,
    DataConfig,
    ModelConfig,
    RunConfig,
    TensorBoardConfig,
    TrainingConfig,
)
from ptb_lm.data.corpus import load_corpus
from ptb_lm.runs.results import Results, SplitScores
from ptb_lm.runs.resuming import given_vocabulary, run_path
from ptb_lm.system import program
from ptb_lm.system.progress import Progress
from ptb_lm.system.quiet_start import start_tensorflow


def run(config: Config) -> int:
    """Trains or resumes, and says where everything is; returns the exit status.

    Raises:
      UserError: as `load_corpus` and `train_and_evaluate`.
    """
    progress = Progress()
    vocabulary = given_vocabulary(config)
    reading = progress.phase("Reading the corpus")
    with reading as update, download_shown(progress) as show:
        corpus = load_corpus(config.data, show, vocabulary, update)
    for line in corpus_lines(corpus, config):
        progress.line(line)
    for warning in corpus_warnings(corpus, config):
        program.say(warning)
    with progress.phase("Starting TensorFlow"):
        start_tensorflow()
    from ptb_lm.system.interrupts import Interrupted
    from ptb_lm.training.trainer import train_and_evaluate

    path = run_path(config)
    try:
        results = train_and_evaluate(config, corpus, path, progress)
    except Interrupted as interruption:
        if interruption.scores:
            progress.line(_table({"weights of now": interruption.scores}))
        progress.line(
            f"Stopped by {interruption}; saved {interruption.checkpoint}\n"
            "The same command goes on from there."
        )
        return 128 + interruption.signal_number
    progress.line(_summary(results, path, config.run.plugin))
    return 0


def _summary(results: Results, path: pathlib.Path, plugin: str) -> str:
    """Final scores, and what to type next."""
    assert results.last_weights and results.best_weights, "of a finished run"
    best = f"best weights (epoch {results.best_epoch})"
    scores = {"last weights": results.last_weights, best: results.best_weights}
    rows = [_table(scores)]
    if results.floor_perplexity is not None:
        rows.append(
            "The lowest any model can reach on this corpus:"
            f" {results.floor_perplexity:.2f}"
        )
    rows += ["", f"Everything is in {path}. To look, write, score, evaluate, compare:"]
    rows += [f"  {command}" for command in _next_commands(path, plugin)]
    return "\n".join(rows)


def _next_commands(path: pathlib.Path, plugin: str) -> list[str]:
    """What to type next about a run, which may need a plugin."""
    run, all_runs = {"save_path": path}, {"save_path": path.parent}
    needed = {"plugin": plugin} if plugin else {}
    return [
        f"tensorboard --logdir={shlex.quote(str(path.parent))}",
        program.command(mode="sample", **run, **needed),
        program.command(mode="score", **run, **needed),
        program.command(mode="evaluate", **run, split="valid", **needed),
        program.command(mode="report", **all_runs, **needed),
    ]


def _table(scores: dict[str, SplitScores]) -> str:
    """Perplexities, a row for each label."""
    rows = [f"\n{'perplexity':>24} {'valid':>9} {'valid, exact':>13} {'test':>9}"]
    rows += [
        f"{label:>24} {each.valid_perplexity:>9.2f}"
        f" {each.valid_perplexity_exact:>13.2f} {each.test_perplexity:>9.2f}"
        for label, each in scores.items()
    ]
    for kind in ("character", "byte"):
        for label, each in scores.items():
            valid = getattr(each, f"valid_bits_per_{kind}")
            test = getattr(each, f"test_bits_per_{kind}")
            if test is not None:
                rows.append(
                    f"{label:>24} {valid:.3f} valid, {test:.3f} test, bits a {kind}"
                )
    return "\n".join(rows)


MODE = Mode(
    run,
    reads=(
        RunConfig,
        DataConfig,
        ModelConfig,
        TrainingConfig,
        TensorBoardConfig,
        "evaluate_on_interrupt",
    ),
)
