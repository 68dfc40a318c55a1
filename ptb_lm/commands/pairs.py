"""``--mode=pairs``: how often a model finds the good sentence of a pair likelier.

A list of pairs has a line for each: the good sentence, the bad one, and perhaps a
group, with tabs between them. Without a list, the built-in language has pairs.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ptb_lm.commands.columns import Line, read_columns, to_line
from ptb_lm.commands.mode import TRAINED_RUN, Mode
from ptb_lm.commands.text_scorer import TextScorer
from ptb_lm.commands.texts import Reader, named_file, open_model, stdin
from ptb_lm.config import Config
from ptb_lm.data.agreement import agreement_pairs
from ptb_lm.data.english import ENGLISH
from ptb_lm.errors import UserError
from ptb_lm.evaluation.metrics import UNITS
from ptb_lm.inference.scored_text import ScoredText
from ptb_lm.system.progress import Progress

WANTED = "a good sentence, a bad one and perhaps a group"


class Pair(NamedTuple):
    """A minimal pair.

    Attributes:
      good: the sentence that should be likelier.
      bad: the other one.
      group: what is counted together; "" for none.
    """

    good: str
    bad: str
    group: str = ""


class Judged(NamedTuple):
    """A minimal pair with its scores.

    Attributes:
      pair: the sentences.
      good: the first, scored.
      bad: the second, scored.
    """

    pair: Pair
    good: ScoredText
    bad: ScoredText

    @property
    def is_correct(self) -> bool:
        """Whether the good sentence is likelier; not if both are equally likely."""
        return self.good.score.nats < self.bad.score.nats

    @property
    def has_unknown(self) -> bool:
        """Whether one of them has unknown tokens."""
        return self.good.unknown_tokens + self.bad.unknown_tokens > 0


class Accuracy(NamedTuple):
    """How many pairs of a group are judged right.

    Attributes:
      group: its name.
      pairs: how many there are.
      correct: in how many of them the good sentence is likelier.
    """

    group: str
    pairs: int
    correct: int

    @classmethod
    def of(cls, group: str, judged: Sequence[Judged]) -> "Accuracy":
        """Counts pairs."""
        return cls(group, len(judged), sum(each.is_correct for each in judged))

    def to_json(self) -> dict[str, object]:
        """As JSON has it."""
        return self._asdict() | {"accuracy": self.correct / self.pairs}


def run(config: Config) -> int:
    """Prints the accuracy by group and in all; returns the exit status.

    Raises:
      UserError: there is no model, the list is empty or damaged, or the model does not
        know the words of the built-in pairs.
    """
    progress = Progress(sys.stderr)
    given = named_file(config)
    pairs = read_pairs(given[1], given[0]) if given else []
    scorer = TextScorer(config, open_model(config))
    if not config.evaluation.text_file:
        _check_known(scorer.reader)
        with progress.phase("Drawing pairs"):
            pairs = _builtin(config)
    elif not given:
        name, text = stdin()
        pairs = read_pairs(text, name)
    with progress.phase("Scoring") as update:
        sentences = [text for pair in pairs for text in (pair.good, pair.bad)]
        scored = scorer.score_sentences(sentences, update)
    judged = list(map(Judged, pairs, scored[::2], scored[1::2]))
    for line in _lines(judged, config):
        print(line)
    return 0


def read_pairs(text: str, name: str) -> list[Pair]:
    """Reads a list of pairs.

    Args:
      text: the list.
      name: what to call it in an error.

    Raises:
      UserError: it is empty, or a line lacks a sentence.
    """
    lines = read_columns(text, name, range(2, 4), WANTED)
    return [_read(line, name) for line in lines]


def _read(line: Line, name: str) -> Pair:
    """Reads a line of a list of pairs."""
    for sentence in line.fields[:2]:
        if not sentence.strip():
            raise UserError(f"{name}, line {line.number}: a sentence without words")
    return Pair(*line.fields)


def _builtin(config: Config) -> list[Pair]:
    """The pairs of the built-in language; a group for each number of attractors."""
    drawn = agreement_pairs(config.probe.num_pairs, config.training.seed)
    return [Pair(each.good, each.bad, str(each.attractors)) for each in drawn]


def _check_known(reader: Reader) -> None:
    """Raises UserError where a model lacks a word of the built-in pairs."""
    tokens = reader.rules.split(" ".join(ENGLISH.words()), close_lines=False)
    unknown = [token for token in tokens if token not in reader.vocabulary]
    if unknown:
        raise UserError(
            "the model does not know the language of the built-in pairs, such as the"
            f" token {unknown[0]!r}; name a list of pairs with --text_file"
        )


def _lines(judged: list[Judged], config: Config) -> Iterator[str]:
    """What is printed, as --format says."""
    options = config.generation
    if options.format == "tsv":
        yield from _rows(judged, options.log_base)
        return
    by_group: dict[str, list[Judged]] = {}
    for each in judged:
        by_group.setdefault(each.pair.group, []).append(each)
    groups = [Accuracy.of(group, several) for group, several in by_group.items()]
    everything = Accuracy.of("all", judged)
    unknown = sum(each.has_unknown for each in judged)
    if options.format == "json":
        entry = everything.to_json() | {"unknown_pairs": unknown}
        del entry["group"]
        yield json.dumps(
            entry | {"groups": [each.to_json() for each in groups]}, ensure_ascii=False
        )
        return
    heading = "group" if config.evaluation.text_file else "attractors"
    named = [each._replace(group=each.group or "-") for each in groups]
    yield from _table([*named, everything] if any(by_group) else [everything], heading)
    if unknown:
        yield f"{unknown:,} of the pairs have unknown words"


def _table(accuracies: list[Accuracy], heading: str) -> Iterator[str]:
    """A line for each group."""
    width = max(len(heading), *(len(each.group) for each in accuracies))
    yield f"{heading:{width}}    pairs  correct  accuracy"
    for each in accuracies:
        share = each.correct / each.pairs
        yield (
            f"{each.group:{width}}  {each.pairs:7,}  {each.correct:7,}  {share:8.2%}"
        )


def _rows(judged: list[Judged], log_base: str) -> Iterator[str]:
    """A line of columns for each pair, after the header."""
    unit = UNITS[log_base]
    surprisals = [f"{which}_surprisal_{unit.name}" for which in ("good", "bad")]
    yield to_line(["group", *surprisals, "correct", "unknown", "good", "bad"])
    for each in judged:
        nats = [scored.score.nats / unit.nats for scored in (each.good, each.bad)]
        yield to_line(
            [
                each.pair.group,
                *nats,
                int(each.is_correct),
                int(each.has_unknown),
                each.pair.good,
                each.pair.bad,
            ]
        )


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "method",
        "text_file",
        "num_pairs",
        "seed",
        "log_base",
        "unknown",
        "count_unknown",
        "format",
    ),
    replaces={
        "save_path": ("model", "data_path"),
        "text_file": ("num_pairs", "seed"),
    },
    formats=("text", "json", "tsv"),
)
