"""``--mode=score``: the surprisal of each token of a text, or of each word.

It imports TensorFlow after it has checked the options and the folder.
"""

import itertools
import json
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ptb_lm.commands.columns import to_line
from ptb_lm.commands.mode import ADAPTATION, TRAINED_RUN, Mode
from ptb_lm.commands.text_scorer import TextScorer
from ptb_lm.commands.texts import RawText, open_model, rules_of
from ptb_lm.config import Config, GenerationConfig
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from ptb_lm.evaluation.metrics import UNITS, Unit
from ptb_lm.inference.scored_text import ScoredText
from ptb_lm.reports.layout import columns, padded, printable
from ptb_lm.runs.resuming import run_path
from ptb_lm.runs.trained_run import TrainedRun

if TYPE_CHECKING:
    from ptb_lm.evaluation.method import Method

SENTENCES_AT_A_TIME = 1024  # between two moments at which something is shown
WIDEST_TOKEN = 40  # columns of the table; what is wider moves its own figures alone


def run(config: Config) -> int:
    """Shows the surprisal of each token of a text; returns the exit status.

    Raises:
      UserError: there is no model, or the text cannot be read by it or is empty.
    """
    given = RawText.asked_for(config)
    model = open_model(config)
    given = given or RawText.of_stdin()
    rules = rules_of(model)
    text = given.text(rules)
    if not text.strip() and not (text and rules.are_bytes):
        raise UserError(f"{given.name}: no words to score")
    scorer = TextScorer(config, model, _adapted_method(config, model))
    writer = Writer(config.generation, rules)
    if not config.generation.each_line:
        writer.write(scorer.score(text), first_line=1)
        return 0
    lines = [
        (number, line)
        for number, line in enumerate(rules.lines(text), start=1)
        if line.strip()
    ]
    for begin in range(0, len(lines), SENTENCES_AT_A_TIME):
        batch = lines[begin : begin + SENTENCES_AT_A_TIME]
        scored = scorer.score_sentences([line for _, line in batch])
        for (number, _), sentence in zip(batch, scored, strict=True):
            writer.write(sentence, number)
    return 0


def _adapted_method(config: Config, model: Any) -> "Method | None":
    """Dynamic evaluation or the cache, with tuned constants; None: neither is wanted.

    Raises:
      UserError: as `Adaptation`.
    """
    choice = config.evaluation
    if choice.dynamic == "none" and not choice.cache_size:
        return None
    from ptb_lm.evaluation.adaptation import Adaptation
    from ptb_lm.inference.opening import scorable
    from ptb_lm.inference.text_model import TextModel

    run = None  # an export has no tuned constants
    if isinstance(model, TextModel):
        run = TrainedRun(run_path(config), choice.weights)
    return Adaptation(config, run).method(scorable(model))


class Writer:
    """Writes scored texts to standard output, as --format and --by_word say."""

    def __init__(self, options: GenerationConfig, rules: TokenRules):
        """Takes the options; of tab-separated columns, it writes the header.

        Args:
          options: of the command.
          rules: how the model splits texts; words are words already.
        """
        self._format, self._unit = options.format, UNITS[options.log_base]
        self._adds_up = options.by_word and rules.token_type != "word"
        self._rules = rules
        self._what = "word" if options.by_word else "token"
        if self._format == "tsv":
            surprisal = f"surprisal_{self._unit.name}"
            heads = ["sentence_id", f"{self._what}_id", self._what, surprisal]
            print(to_line([*heads, "unknown"]))

    def write(self, scored: ScoredText, first_line: int) -> None:
        """Writes a text.

        Args:
          scored: the text.
          first_line: number of its first line in the input, from 1.
        """
        bits = scored.score.bits_per_token if self._rules.are_bytes else None
        if self._adds_up:
            scored = scored.by_word(self._rules.join)
        if self._format == "tsv":
            lines = _rows(scored, first_line, self._unit)
        elif self._format == "json":
            lines = iter([_json(scored, self._what, self._unit, bits)])
        else:
            lines = _table(scored, self._what, self._unit, bits)
        for line in lines:
            print(line)
        sys.stdout.flush()


def _rows(scored: ScoredText, first_line: int, unit: Unit) -> Iterator[str]:
    """A line of columns for each token, also for those that are left out."""
    for line, rows in itertools.groupby(scored.rows, lambda row: row.line):
        for number, row in enumerate(rows, start=1):
            surprisal = None if row.nats is None else row.nats / unit.nats
            unknown = int(row.is_unknown)
            yield to_line([first_line + line, number, row.written, surprisal, unknown])


def _json(scored: ScoredText, what: str, unit: Unit, bits: float | None) -> str:
    """A JSON object on one line; `bits` are those a byte, of bytes."""
    nats, score = scored.nats, scored.score
    entry = {
        f"{what}s": scored.tokens,
        "probabilities": [None if n is None else math.exp(-n) for n in nats],
        unit.name: [None if n is None else n / unit.nats for n in nats],
        f"total_{unit.name}": score.nats / unit.nats,
        f"counted_{what}s": score.tokens,
        "perplexity": score.to_json()["perplexity"],
        **scored.unknown.to_json(),
        f"unknown_{what}s": scored.unknown_tokens,
    }
    if bits is not None:
        entry["bits_per_byte"] = bits if math.isfinite(bits) else None
    return json.dumps(entry, ensure_ascii=False)


def _table(
    scored: ScoredText, what: str, unit: Unit, bits: float | None
) -> Iterator[str]:
    """A line for each token that the model reads, and one on all of them."""
    tokens = [*map(printable, scored.tokens)]
    width = min(max(map(columns, [what, *tokens])), WIDEST_TOKEN)
    yield f"{padded(what, width)}  probability  {unit.name:>8}"
    for token, nats in zip(tokens, scored.nats, strict=True):
        figures = f"{'-':>11}  {'-':>8}"
        if nats is not None:
            figures = f"{math.exp(-nats):11.3g}  {nats / unit.nats:8.4f}"
        yield f"{padded(token, width)}  {figures}"
    score = scored.score
    if not score.tokens:
        yield f"no {what} has another before it: no perplexity; see --each_line"
        return
    unknown = scored.unknown.to_text()
    if not scored.counts_unknown and scored.unknown_tokens:
        plural = "s" * (scored.unknown_tokens > 1)
        unknown = f"; {scored.unknown_tokens:,} unknown {what}{plural} not counted"
    yield (
        f"perplexity {score.perplexity:.3f}"
        f" ({score.nats_per_token / unit.nats:.5f} {unit.name} a {what};"
        f" {score.tokens:,} {what}s counted{unknown})"
        + (f"; {bits:.5f} bits a byte" if bits is not None else "")
    )


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "method",
        *ADAPTATION,
        "text_file",
        "text",
        "each_line",
        "by_word",
        "log_base",
        "unknown",
        "count_unknown",
        "format",
    ),
    formats=("text", "json", "tsv"),
    replaces={"save_path": ("model", "data_path"), "text": ("text_file",)},
)
