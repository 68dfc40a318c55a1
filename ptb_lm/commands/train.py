"""``--mode=train``: trains a model, or resumes its training, and evaluates it.

It imports TensorFlow after it has read the corpus, so that it reports a wrong path at
once.
"""

import contextlib
import os
import pathlib
import shlex
from importlib.metadata import version
from typing import TYPE_CHECKING

from ptb_lm import __version__
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
    fields_by_name,
)
from ptb_lm.data.corpus import Corpus, load_corpus
from ptb_lm.runs.results import Results, SplitScores
from ptb_lm.runs.resuming import given_vocabulary, run_path
from ptb_lm.system import program
from ptb_lm.system.cluster import Cluster, Facts, join
from ptb_lm.system.interrupts import Interrupted
from ptb_lm.system.progress import Progress
from ptb_lm.system.quiet_start import start_tensorflow
from ptb_lm.system.workers import Alone

if TYPE_CHECKING:  # it imports TensorFlow
    from ptb_lm.training.devices import Devices

# Options that do not make the run, but the steps between which workers meet.
ALIKE = ("devices", "save_every_steps", "log_every_steps", "histograms_every_steps")


def run(config: Config) -> int:
    """Trains or resumes, and says where everything is; returns the exit status.

    Raises:
      UserError: as `load_corpus` and `train_and_evaluate`.
    """
    cluster = Cluster.from_environment()
    is_chief = cluster is None or cluster.index == 0
    with contextlib.ExitStack() as stack:
        output = None if is_chief else stack.enter_context(open(os.devnull, "w"))
        progress = Progress(output)
        vocabulary = given_vocabulary(config)
        reading = progress.phase("Reading the corpus")
        with reading as update, download_shown(progress) as show:
            corpus = load_corpus(config.data, show, vocabulary, update)
        for line in corpus_lines(corpus, config):
            progress.line(line)
        for warning in corpus_warnings(corpus, config) if is_chief else ():
            program.say(warning)
        workers = Alone()
        if cluster:
            with progress.phase(f"Waiting for {len(cluster.addresses) - 1} workers"):
                facts = _facts(config, corpus)
                workers = join(cluster, facts, config.run.join_timeout)
        stack.enter_context(workers)
        return _train(config, corpus, progress, workers)


def _train(config: Config, corpus: Corpus, progress: Progress, workers: Alone) -> int:
    """The same, once the workers have met; returns the exit status."""

    def prepare() -> "Devices":
        from ptb_lm.training.devices import open_devices

        batch_size = config.training.batch_size
        return open_devices(config.run.devices, batch_size, workers)

    with progress.phase("Starting TensorFlow"):
        devices = start_tensorflow(prepare)
    from ptb_lm.training.trainer import train_and_evaluate

    if devices.count > 1:
        rows = config.training.batch_size // devices.count
        progress.line(f"{devices.count} devices share each batch, {rows} rows each")
    path = run_path(config)
    try:
        results = train_and_evaluate(config, corpus, path, progress, devices)
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


def _facts(config: Config, corpus: Corpus) -> Facts:
    """What all workers of a training must have alike."""
    fields, values = fields_by_name(), config.values()
    names = [name for name in values if fields[name].metadata["defines_run"]]
    names = [name for name in names if not fields[name].metadata["is_path"]]
    options = {f"--{name}": values[name] for name in (*names, *ALIKE)}
    versions = {name: version(name) for name in ("tensorflow", "keras")}
    return options | versions | {"ptb_lm": __version__, "the text": corpus.digest()}


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
