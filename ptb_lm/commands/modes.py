"""What each ``--mode`` does: the top of the library, below the command line.

TensorFlow is imported by the functions here once the corpus is read, so that a
wrong path is answered at once.
"""

import contextlib
import dataclasses
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ptb_lm.commands.generation import sample, score
from ptb_lm.config import Config
from ptb_lm.data.corpus import corpus_name, encode_file, encode_split, load_corpus
from ptb_lm.errors import UserError
from ptb_lm.system import files
from ptb_lm.system.progress import Progress
from ptb_lm.system.quiet_start import start_tensorflow


def run(config: Config) -> int:
    """Carries out the configuration's mode and returns the exit status."""
    modes = {
        "train": _train,
        "evaluate": _evaluate,
        "sample": lambda config: sample(config, save_path(config)),
        "score": lambda config: score(config, save_path(config)),
        "neighbours": _neighbours,
        "export": _export,
        "report": _report,
    }
    return modes[config.run.mode](config)


def save_path(config: Config) -> pathlib.Path:
    """The run folder: --save_path, or runs/MODEL-CORPUS."""
    if config.run.save_path:
        return files.expand_home(config.run.save_path)
    name = f"{config.run.model}-{corpus_name(config.data.data_path)}"
    return pathlib.Path("runs") / name


def _train(config: Config) -> int:
    """Trains, or goes on, and says where everything is."""
    progress = Progress()
    with _download_shown(progress) as show:
        corpus = load_corpus(config.data, show)
    counts = ", ".join(f"{len(ids):,} {name}" for name, ids in corpus.splits.items())
    kind = {"word": "words", "char": "characters"}[config.data.token_type]
    progress.line(
        f"Corpus {corpus.name}: {counts} tokens; {len(corpus.vocabulary):,} {kind}"
    )
    start_tensorflow()
    from ptb_lm.system.interrupts import Interrupted
    from ptb_lm.training.trainer import train_and_evaluate

    path = save_path(config)
    try:
        results = train_and_evaluate(config, corpus, path, progress)
    except Interrupted as interruption:
        if interruption.scores:
            progress.line(_table({"weights of now": interruption.scores.to_json()}))
        progress.line(
            f"Stopped by {interruption}; saved {interruption.checkpoint}\n"
            "The same command goes on from there."
        )
        return 128 + interruption.signal_number
    progress.line(_summary(results.to_json(), path))
    return 0


@contextlib.contextmanager
def _download_shown(progress: Progress) -> Iterator[Callable[[int, int | None], None]]:
    """Gives what shows a download; whatever happens to it, the bar is cleared."""
    begin = time.monotonic()

    def show(done: int, total: int | None) -> None:
        if total:  # else there is no telling what share is done
            rate = done / max(time.monotonic() - begin, 1e-9)
            facts = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
            progress.update("Penn Treebank, download", done, total, facts, rate)

    try:
        yield show
    finally:
        progress.clear()


def _summary(results: dict[str, Any], path: pathlib.Path) -> str:
    """Final scores, and what to type next."""
    best = f"best weights (epoch {results['best_epoch']})"
    table = {"last weights": "last_weights", best: "best_weights"}
    rows = [_table({label: results[name] for label, name in table.items()})]
    if results["floor_perplexity"] is not None:
        rows.append(
            f"The lowest any model can reach on this corpus:"
            f" {results['floor_perplexity']:.2f}"
        )
    place, parent = shlex.quote(str(path)), shlex.quote(str(path.parent))
    rows += [
        "",
        f"Everything is in {path}. To look, write, score, evaluate, compare:",
        f"  tensorboard --logdir={parent}",
        f"  python run_ptb.py --mode=sample --save_path={place}",
        f"  python run_ptb.py --mode=score --save_path={place}",
        f"  python run_ptb.py --mode=evaluate --save_path={place} --split=valid",
        f"  python run_ptb.py --mode=report --save_path={parent}",
    ]
    return "\n".join(rows)


def _table(scores: dict[str, dict[str, float]]) -> str:
    """Perplexities, a row for each label."""
    rows = [f"\n{'perplexity':>24} {'valid':>9} {'valid, exact':>13} {'test':>9}"]
    rows += [
        f"{label:>24} {figures['valid_perplexity']:>9.2f}"
        f" {figures['valid_perplexity_exact']:>13.2f}"
        f" {figures['test_perplexity']:>9.2f}"
        for label, figures in scores.items()
    ]
    rows += [
        f"{label:>24} {figures['valid_bits_per_character']:.3f} valid,"
        f" {figures['test_bits_per_character']:.3f} test, bits a character"
        for label, figures in scores.items()
        if "test_bits_per_character" in figures
    ]
    return "\n".join(rows)


def _evaluate(config: Config) -> int:
    """Prints the perplexity of a split or a text file under a trained model."""
    from ptb_lm.runs.folder import RunFolder

    folder, choice = RunFolder(save_path(config)), config.evaluation
    trained, vocabulary = folder.config(), folder.vocabulary()
    if choice.text_file:
        name = choice.text_file
        ids = encode_file(files.expand_home(name), vocabulary, trained.data)
    else:
        data = dataclasses.replace(
            trained.data,
            data_path=config.data.data_path or trained.data.data_path,
            cache_dir=config.data.cache_dir,
            ptb_url=config.data.ptb_url,
        )
        name = f"{corpus_name(data.data_path)} {choice.split}"
        with _download_shown(Progress()) as show:
            ids = encode_split(data, choice.split, vocabulary, show)
    start_tensorflow()
    from ptb_lm.evaluation.evaluator import score_run

    score = score_run(folder, ids, choice, name)
    print(
        f"{name}: perplexity {score.perplexity:.3f}"
        f" ({score.nats_per_token:.5f} nats or {score.bits_per_token:.5f} bits a"
        f" token; {score.tokens:,} tokens, counted the {choice.counting} way;"
        f" {choice.weights} weights of {folder.path})"
    )
    return 0


def _export(config: Config) -> int:
    """Writes the SavedModel and the Keras file of a trained run."""
    from ptb_lm.runs.folder import RunFolder

    folder, weights = RunFolder(save_path(config)), config.evaluation.weights
    folder.config()  # where there is no run, says so before TensorFlow starts
    start_tensorflow()
    from ptb_lm.export.saved_model import export_run

    path = export_run(folder, weights)
    print(
        f"{path}: the {weights} weights;"
        f' tf.saved_model.load({str(path)!r}).generate(["..."])\n'
        f"{folder.path / 'model.keras'}: the same for Keras"
    )
    return 0


def _neighbours(config: Config) -> int:
    """Prints the nearest words of a trained model's embedding."""
    from ptb_lm.reports.neighbours import neighbours_table
    from ptb_lm.runs.folder import RunFolder

    folder, look = RunFolder(save_path(config)), config.look
    folder.config()  # where there is no run, says so
    words, weights = look.words.split(), config.evaluation.weights
    print(neighbours_table(folder, words, look.num_neighbours, weights), end="")
    return 0


def _report(config: Config) -> int:
    """Prints the results table of the runs in a folder, and draws them."""
    from ptb_lm.reports.table import recorded_runs, results_table

    folder = files.expand_home(config.run.save_path or "runs")
    print(results_table(folder), end="", flush=True)
    from ptb_lm.reports import figures

    place = folder / "figures"
    if config.look.figures_path:
        place = files.expand_home(config.look.figures_path)
    try:
        paths = figures.draw_runs(recorded_runs(folder), place)
    except UserError as error:  # the table is there
        print(f"run_ptb.py: {error}", file=sys.stderr)
    else:
        print(f"Figures: {', '.join(map(str, paths))}", file=sys.stderr)
    return 0
