"""The results table, made from recorded runs and nothing else."""

import statistics
from collections.abc import Sequence

from ptb_lm.errors import UserError
from ptb_lm.reports.layout import (
    Row,
    markdown_table,
    markdown_text,
    paragraph,
    printable,
    text_table,
)
from ptb_lm.reports.recorded import RecordedRun, by_corpus, corpus_title
from ptb_lm.system.progress import duration

RUN = "run"
# Perplexities and bits, of which the seeds of a configuration have a mean and a
# standard deviation: title -> format.
_SCORES = {
    "train": ".2f",
    "valid": ".2f",
    "test": ".2f",
    "bits a character,\nvalid / test": ".3f",
    "bits a byte,\nvalid / test": ".3f",
}
# Other numbers, which have a mean.
_UNKNOWN = "<unk>\nin test, %"
_NUMBERS = {"parameters": ",.0f", "PFLOP": ".3g", _UNKNOWN: ".3g", "tokens/s": ",.0f"}
_TITLES = (
    RUN,
    "parameters",
    "PFLOP",
    "epochs",
    *_SCORES,
    _UNKNOWN,
    "published\nvalid / test",
    "seed",
    "tokens/s",
    "wall time",
)
# Those that a narrow terminal shows first.
_IMPORTANCE = (
    RUN,
    "test",
    "valid",
    "train",
    "epochs",
    "bits a character,\nvalid / test",
    "bits a byte,\nvalid / test",
    "published\nvalid / test",
    _UNKNOWN,
    "seed",
    "PFLOP",
    "wall time",
    "parameters",
    "tokens/s",
)


def results_table(runs: list[RecordedRun], width: int | None = None) -> str:
    """Tables of runs, one for each corpus; the Penn Treebank's words come first.

    After runs that differ in their seed alone stands their mean, with the standard
    deviation (of n - 1).

    Args:
      runs: at least one.
      width: characters of a terminal's line. It gets text, with the columns for which
        there is room. None: Markdown, with all columns.

    Raises:
      UserError: the results of one do not say what machine they were measured on.
    """
    machines, shown = sorted({_machine(run) for run in runs}), printable
    if width is None:
        shown = markdown_text
    parts, left_out = [], set[str]()
    for corpus, members in by_corpus(runs).items():
        title, rows = corpus_title(corpus), _rows(members)
        if width is None:
            heading, body = f"**{shown(title)}**", markdown_table(_TITLES, rows)
        else:
            body, without = text_table(_TITLES, rows, width, _IMPORTANCE)
            heading = shown(title)
            left_out.update(without)
        parts.append(f"{heading}\n\n{body}")
    if left_out:
        names = ", ".join(t.replace("\n", " ") for t in _TITLES if t in left_out)
        note = f"No room for: {names}. A pipe or a file gets the whole table."
        parts.append(paragraph(note, width))
    unfinished = [
        f"{shown(run.name)} ({_epochs(run)} epochs)"
        for run in runs
        if not run.results.last_weights
    ]
    if unfinished:
        parts.append(
            paragraph(f"Without final scores: {', '.join(unfinished)}.", width)
        )
    parts.append(paragraph(f"Measured on: {'; '.join(map(shown, machines))}.", width))
    return "\n".join(parts)


def _rows(runs: list[RecordedRun]) -> list[Row]:
    """The rows of one corpus: runs by name, each configuration's together."""
    rows: list[Row] = []
    groups: dict[object, list[RecordedRun]] = {}
    for run in runs:
        groups.setdefault(run.same_but_seed(), []).append(run)
    for members in groups.values():
        rows += map(_row, members)
        scored = {r.results.seed: r for r in members if r.results.last_weights}
        if len(scored) > 1:
            rows.append(_mean([*scored.values()]))
    return rows


def _row(run: RecordedRun) -> Row:
    """Scores of the last weights, as published; of an unfinished run, so far."""
    formats = _SCORES | _NUMBERS
    published = run.published()
    cells = {
        title: " / ".join(format(value, formats[title]) for value in values)
        for title, values in _values(run).items()
    }
    cells |= {
        RUN: run.name,
        "epochs": _epochs(run),
        "seed": str(run.results.seed),
        "wall time": duration(run.results.wall_seconds),
    }
    if published:
        valid = "-" if published.valid is None else published.valid
        cells["published\nvalid / test"] = f"{valid} / {published.test}"
    return cells


def _mean(runs: Sequence[RecordedRun]) -> Row:
    """Means over runs of one configuration, each with another seed."""
    values = [_values(run) for run in runs]
    cells = {}
    for title in values[0]:
        columns = [*zip(*(each[title] for each in values), strict=False)]
        cells[title] = " / ".join(_spread(title, column) for column in columns)
    seconds = statistics.mean(run.results.wall_seconds for run in runs)
    return cells | {RUN: f"mean of {len(runs)} seeds", "wall time": duration(seconds)}


def _spread(title: str, values: Sequence[float]) -> str:
    """The mean of some numbers; of scores, with the standard deviation."""
    mean = statistics.mean(values)
    if title in _NUMBERS:
        return format(mean, _NUMBERS[title])
    deviation = statistics.stdev(values)
    return f"{mean:{_SCORES[title]}} ± {deviation:{_SCORES[title]}}"


def _values(run: RecordedRun) -> dict[str, list[float]]:
    """The numbers of a run by title; none where it has none, or no ``<unk>``."""
    results, last = run.results, run.results.last_weights
    epoch = results.epochs[-1]
    bits = [epoch.valid_bits_per_character]
    byte_bits = [epoch.valid_bits_per_byte]
    if last:
        bits.append(last.test_bits_per_character)
        byte_bits.append(last.test_bits_per_byte)
    text = results.texts.get("test")
    unknown = text.unknown_share if text else 0.0
    speeds = [each.tokens_per_second for each in results.epochs]
    return {
        "parameters": [results.parameters],
        "PFLOP": [_training_flop(run) / 1e15],
        "train": [epoch.train_perplexity],
        "valid": [epoch.valid_perplexity],
        "test": [last.test_perplexity] if last else [],
        "bits a character,\nvalid / test": [b for b in bits if b is not None],
        "bits a byte,\nvalid / test": [b for b in byte_bits if b is not None],
        _UNKNOWN: [100 * unknown] if unknown else [],
        "tokens/s": [statistics.median(speeds)],
    }


def _epochs(run: RecordedRun) -> str:
    return f"{len(run.results.epochs)} of {run.config.training.max_max_epoch}"


def _training_flop(run: RecordedRun) -> int:
    """Operations of the training; older results lack them, and had equal windows."""
    results = run.results
    if results.training_flop is not None:
        return results.training_flop
    from ptb_lm.training.cost import flop_of_equal_windows

    steps = results.epochs[-1].step
    return flop_of_equal_windows(run.config, results.vocabulary_size, steps)


def _machine(run: RecordedRun) -> str:
    """Hardware and TensorFlow of a run, in a few words."""
    results = run.results
    try:
        cores = results.machine["cores"]
        return (
            f"{cores} core{'s' * (cores > 1)} of {results.machine['processor']},"
            f" TensorFlow {results.versions['tensorflow']}"
        )
    except (LookupError, TypeError) as error:
        raise UserError(
            f"{run.path}/results.json: not a run's results: {error}"
        ) from error
