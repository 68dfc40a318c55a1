"""The recorded evaluations (results/evaluations) as README's table."""

import json

from ptb_lm.runs.folder import RunFolder
from tests.support.documents import PROJECT

FOLDER = PROJECT / "results" / "evaluations"


def recorded_evaluations():
    """Name of each record -> what `--mode=evaluate --format=json` printed."""
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(FOLDER.glob("*.json"))
    }


def plain_perplexity(record):
    """Of the test text, by the same weights; of several runs, the lowest."""
    return min(
        RunFolder(PROJECT / run).read_results().best_weights.test_perplexity
        for run in record["run"].split(",")
    )


def method_of(record):
    """What was evaluated, in words."""
    parts = []
    if "," in record["run"]:
        parts.append("mean of their probabilities")
    if "dynamic" in record:
        parts.append(f"dynamic evaluation ({record['dynamic']})")
    if "cache_size" in record:
        parts.append(f"cache of {record['cache_size']:,} tokens")
    if "ngram_order" in record:
        parts.append(f"mixed with {record['ngram_order']}-grams")
    return ", ".join(parts)


def evaluations_table():
    """All records, as Markdown."""
    lines = [
        "| runs | evaluation | plain | test | change |",
        "|---|---|--:|--:|--:|",
    ]
    for record in recorded_evaluations().values():
        runs = ", ".join(run.rpartition("/")[2] for run in record["run"].split(","))
        plain, found = plain_perplexity(record), record["perplexity"]
        lines.append(
            f"| {runs} | {method_of(record)} | {plain:.2f} | {found:.2f} |"
            f" {found / plain - 1:+.1%} |"
        )
    return "\n".join(lines) + "\n"
