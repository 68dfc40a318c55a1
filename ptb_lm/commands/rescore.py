"""``--mode=rescore``: n-best lists, sorted by an old score and the network's.

A list has a line for each hypothesis: id, old score, text, with tabs between them. The
hypotheses of one utterance share an id. Higher scores are better.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Iterator

from ptb_lm.commands.columns import Line, read_columns, to_line
from ptb_lm.commands.mode import TRAINED_RUN, Mode
from ptb_lm.commands.text_scorer import TextScorer
from ptb_lm.commands.texts import named_file, open_model, stdin
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.evaluation.metrics import UNITS
from ptb_lm.options import LARGEST
from ptb_lm.system.progress import Progress

WANTED = "an id, a score and a text"


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A line of an n-best list.

    Attributes:
      name: id of the utterance.
      old_score: as the list has it.
      text: what may have been said; perhaps nothing.
      log_probability: of the text and the end of its line, in the unit of --log_base.
      score: the new one.
    """

    name: str
    old_score: float
    text: str
    log_probability: float = math.nan
    score: float = math.nan

    @property
    def words(self) -> int:
        """Number of its words."""
        return len(self.text.split())


def run(config: Config) -> int:
    """Prints the hypotheses, the best of each id first; returns the exit status.

    Raises:
      UserError: there is no model, or the list is empty or damaged.
    """
    given = named_file(config)
    hypotheses = read_nbest(given[1], given[0]) if given else []
    model = open_model(config)
    if not given:
        name, text = stdin()
        hypotheses = read_nbest(text, name)
    progress = Progress(sys.stderr)
    with progress.phase("Scoring") as update:
        texts = [hypothesis.text for hypothesis in hypotheses]
        scored = TextScorer(config, model).score_sentences(texts, update)
    nats = [sentence.score.nats for sentence in scored]
    unit = UNITS[config.generation.log_base]
    ranked = rank(config, hypotheses, [-each / unit.nats for each in nats])
    show = _objects if config.generation.format == "json" else _rows
    for line in show(ranked, f"log_probability_{unit.name}"):
        print(line)
    return 0


def read_nbest(text: str, name: str) -> list[Hypothesis]:
    """Reads an n-best list.

    Args:
      text: the list.
      name: what to call it in an error.

    Raises:
      UserError: it is empty, or a line lacks a column or a number.
    """
    return [_read(line, name) for line in read_columns(text, name, range(3, 4), WANTED)]


def _read(line: Line, name: str) -> Hypothesis:
    """Reads a line of an n-best list."""
    utterance, written, text = line.fields
    try:
        score = float(written)
    except ValueError:
        score = math.nan
    if not abs(score) <= LARGEST:  # nor is nan
        raise UserError(
            f"{name}, line {line.number}: the score {written!r} is not a number"
        )
    return Hypothesis(utterance, score, text)


def rank(
    config: Config, hypotheses: list[Hypothesis], log_probabilities: list[float]
) -> dict[str, list[Hypothesis]]:
    """Gives each hypothesis its new score, and sorts those of each id by it.

    Args:
      config: with the weights.
      hypotheses: of all lists.
      log_probabilities: what the network says of each.

    Returns:
      The ids in their order -> their hypotheses, the best first; of equal ones, the
      earlier.
    """
    weights = config.probe
    found: dict[str, list[Hypothesis]] = {}
    for each, log_probability in zip(hypotheses, log_probabilities, strict=True):
        score = (
            weights.score_weight * each.old_score
            + weights.lm_weight * log_probability
            + weights.word_weight * each.words
        )
        rescored = dataclasses.replace(
            each, log_probability=log_probability, score=score
        )
        found.setdefault(each.name, []).append(rescored)
    for several in found.values():
        several.sort(key=lambda each: -each.score)
    return found


def _rows(ranked: dict[str, list[Hypothesis]], heading: str) -> Iterator[str]:
    """A line of columns for each hypothesis, after the header."""
    yield to_line(["id", "score", "old_score", heading, "words", "text"])
    for name, hypotheses in ranked.items():
        for each in hypotheses:
            log_probability = each.log_probability
            numbers = [each.score, each.old_score, log_probability, each.words]
            yield to_line([name, *numbers, each.text])


def _objects(ranked: dict[str, list[Hypothesis]], heading: str) -> Iterator[str]:
    """A JSON object for each id."""
    for name, hypotheses in ranked.items():
        entries = [
            {
                "score": each.score,
                "old_score": each.old_score,
                heading: each.log_probability,
                "words": each.words,
                "text": each.text,
            }
            for each in hypotheses
        ]
        yield json.dumps({"id": name, "hypotheses": entries}, ensure_ascii=False)


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "method",
        "text_file",
        "score_weight",
        "lm_weight",
        "word_weight",
        "log_base",
        "unknown",
        "count_unknown",
        "format",
    ),
    replaces={"save_path": ("model", "data_path")},
    formats=("text", "json", "tsv"),
)
