"""``--mode=evaluate``: the perplexity of a split or a text file under a trained model.

It imports TensorFlow after it has read the text.
"""

import dataclasses
import json
import sys

import numpy as np

from ptb_lm.commands.downloads import download_shown
from ptb_lm.commands.mode import TRAINED_RUN, Mode
from ptb_lm.config import Config
from ptb_lm.data.corpus import corpus_name, encode_file, encode_split
from ptb_lm.runs.resuming import run_path
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files
from ptb_lm.system.progress import Progress
from ptb_lm.system.quiet_start import start_tensorflow


def run(config: Config) -> int:
    """Prints the perplexity, and returns the exit status.

    Raises:
      UserError: there is no run, or the text cannot be read or is too short.
    """
    choice = config.evaluation
    trained = TrainedRun(run_path(config), choice.weights)
    name, ids = _read(config, trained)
    start_tensorflow()
    from ptb_lm.evaluation.evaluator import score_run

    score = score_run(trained, ids, config, name)
    if config.generation.format == "json":
        entry = {"text": name, **score.to_json(), "counting": choice.counting}
        entry |= {"weights": choice.weights, "run": str(trained.path)}
        print(json.dumps(entry, ensure_ascii=False))
        return 0
    print(
        f"{name}: perplexity {score.perplexity:.3f}"
        f" ({score.nats_per_token:.5f} nats or {score.bits_per_token:.5f} bits a"
        f" token; {score.tokens:,} tokens, counted the {choice.counting} way;"
        f" {choice.weights} weights of {trained.path})"
    )
    return 0


def _read(config: Config, trained: TrainedRun) -> tuple[str, np.ndarray]:
    """The text to evaluate: its name, and its ids under the run's vocabulary."""
    choice, data = config.evaluation, trained.config.data
    if choice.text_file:
        path = files.expand_home(choice.text_file)
        return choice.text_file, encode_file(path, trained.vocabulary, data)
    data = dataclasses.replace(
        data,
        data_path=config.data.data_path or data.data_path,
        cache_dir=config.data.cache_dir,
        ptb_url=config.data.ptb_url,
    )
    with download_shown(Progress(sys.stderr)) as show:
        ids = encode_split(data, choice.split, trained.vocabulary, show)
    return f"{corpus_name(data.data_path)} {choice.split}", ids


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "split",
        "text_file",
        "cache_dir",
        "ptb_url",
        "counting",
        "method",
        "format",
    ),
    replaces={"save_path": ("model",), "text_file": ("split",)},
)
