"""``--mode=score``: the probability of each token of a text.

It imports TensorFlow after it has checked the options and the folder.
"""

import json
import math
import sys
from typing import Any

import numpy as np

from ptb_lm.commands.mode import ADAPTATION, TRAINED_RUN, Mode
from ptb_lm.commands.texts import (
    STANDARD_INPUT,
    Reader,
    open_model,
    text_of_stdin,
)
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.inference.scored_text import ScoredText
from ptb_lm.reports.layout import columns, padded, printable
from ptb_lm.runs.resuming import run_path
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files

LINE_END = "\n"
WIDEST_TOKEN = 40  # columns of the table; what is wider moves its own figures alone


def run(config: Config) -> int:
    """Shows the probability of each token of a text; returns the exit status.

    Raises:
      UserError: there is no model, or the text cannot be read by it or is empty.
    """
    text, name = None, "--text"
    if config.generation.text != STANDARD_INPUT:
        text = config.generation.text
    elif config.evaluation.text_file not in ("", STANDARD_INPUT):
        name = config.evaluation.text_file
        text = files.read_text(files.expand_home(name), may_be_stream=True)
    model = open_model(config)
    if text is None:
        name, text = "standard input", text_of_stdin()
    texts = [text]
    if config.generation.each_line:
        texts = [f"{line}\n" for line in text.replace("\r\n", "\n").split("\n")]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise UserError(f"{name}: no words to score")
    scorer = TextScorer(config, model)
    for text in texts:
        _show(scorer.score(text), config.generation.format)
    return 0


class TextScorer:
    """Scores texts with a model, by the method that --method names."""

    def __init__(self, config: Config, model: Any):
        """Takes the options, and a model from `open_model`."""
        from ptb_lm.evaluation.adaptation import Adaptation
        from ptb_lm.evaluation.evaluator import Evaluator
        from ptb_lm.inference.opening import scorable

        self._reader = Reader(model, config.generation.unknown)
        adaptation = Adaptation(config, _adapted_run(config, model))
        self._evaluator = Evaluator(adaptation.method(scorable(model)))
        # A sentence follows the end of a line.
        self._context = LINE_END if config.generation.each_line else ""

    def score(self, text: str) -> ScoredText:
        """Scores a text as a corpus is read: its last line of words is closed.

        Raises:
          UserError: there are unknown tokens, and --unknown=error.
        """
        reader = self._reader
        is_open = reader.rules.token_type == "word" and not text.endswith(LINE_END)
        read = reader.read(text + LINE_END if is_open else text)
        before = reader.read(self._context).ids
        nats = self._evaluator.token_nats(np.concatenate([before, read.ids])).tolist()
        # Of the first token of all there are none.
        counted = [None, *nats][len(before) :][: len(read.ids)]
        tokens = reader.vocabulary.decode(read.ids.tolist())
        return ScoredText(tokens, counted, read.unknown(reader.vocabulary))


def _adapted_run(config: Config, model: Any) -> TrainedRun | None:
    """The run whose tuned constants are needed; None: none are, or it is an export."""
    from ptb_lm.inference.text_model import TextModel

    choice = config.evaluation
    is_adapted = choice.dynamic != "none" or choice.cache_size
    if not is_adapted or not isinstance(model, TextModel):
        return None
    return TrainedRun(run_path(config), choice.weights)


def _show(scored: ScoredText, style: str) -> None:
    """Writes a scored text as a table, or as a JSON object on one line."""
    probabilities = [None if n is None else math.exp(-n) for n in scored.nats]
    if style == "json":
        _show_json(scored, probabilities)
        return
    tokens = [*map(printable, scored.tokens)]
    width = min(max(map(columns, ["token", *tokens])), WIDEST_TOKEN)
    lines = [f"{padded('token', width)}  probability      nats"]
    rows = zip(tokens, probabilities, scored.nats, strict=True)
    for token, probability, nats in rows:
        figures = f"{'-':>11}  {'-':>8}"
        if nats is not None:
            figures = f"{probability:11.3g}  {nats:8.4f}"
        lines.append(f"{padded(token, width)}  {figures}")
    print("\n".join(lines))
    score = scored.score
    if score.tokens:
        print(
            f"perplexity {score.perplexity:.3f} ({score.nats_per_token:.5f} nats a"
            f" token; {score.tokens:,} tokens counted{scored.unknown.to_text()})"
        )
    else:
        print("no token has another before it: no perplexity; see --each_line")
    sys.stdout.flush()


def _show_json(scored: ScoredText, probabilities: list[float | None]) -> None:
    """Writes a scored text as a JSON object on one line."""
    entry = {
        "tokens": scored.tokens,
        "probabilities": probabilities,
        "nats": scored.nats,
        **scored.score.to_json(),
        **scored.unknown.to_json(),
    }
    print(json.dumps(entry, ensure_ascii=False), flush=True)


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "method",
        *ADAPTATION,
        "text_file",
        "text",
        "each_line",
        "unknown",
        "format",
    ),
    replaces={"save_path": ("model", "data_path"), "text": ("text_file",)},
)
