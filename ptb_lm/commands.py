"""What each ``--mode`` does: the top of the library, below the command line."""

import pathlib

from ptb_lm.config import Config
from ptb_lm.corpus import corpus_name, load_corpus
from ptb_lm.errors import UserError
from ptb_lm.progress import Progress, duration


def run(config: Config) -> int:
    """Carries out the configuration's mode and returns the exit status."""
    modes = {"train": train}
    return modes[config.run.mode](config)


def save_path(config: Config) -> pathlib.Path:
    """The run folder: --save_path, or runs/MODEL-CORPUS."""
    if config.run.save_path:
        return pathlib.Path(config.run.save_path).expanduser()
    name = f"{config.run.model}-{corpus_name(config.data.data_path)}"
    return pathlib.Path("runs") / name


def train(config: Config) -> int:
    """--mode=train: train, or go on, and report."""
    progress = Progress()
    path = save_path(config)
    corpus = load_corpus(config.data)
    counts = ", ".join(f"{len(ids):,} {split}" for split, ids in corpus.splits.items())
    progress.line(
        f"Corpus {corpus.name}: {counts} tokens; {len(corpus.vocabulary):,} words"
    )
    from ptb_lm.interrupts import Interrupted
    from ptb_lm.training import train_and_evaluate

    try:
        results = train_and_evaluate(config, corpus, path, progress)
    except Interrupted as interruption:
        progress.line(
            f"Stopped by {interruption}; saved {interruption.checkpoint}. The same"
            " command goes on from there."
        )
        return 128 + interruption.signal_number
    for name in ("last", "best"):
        scores = results[f"{name}_weights"]
        progress.line(f"{name} weights: {scores}")
    return 0
