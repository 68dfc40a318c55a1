"""The results table, made from recorded runs and nothing else."""

import dataclasses
import pathlib
import statistics
from collections.abc import Collection
from typing import Any

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.runs.folder import RunFolder
from ptb_lm.system.progress import duration

# Train, valid and test perplexity printed in the header of the PTB tutorial's
# ptb_word_lm.py. (Those of Zaremba et al. 2014, table 1, differ a little.) The number
# of parameters tells the models apart, tied ones among them.
PUBLISHED = {
    ("ptb", 4_651_600): (37.99, 121.39, 115.91),  # small
    ("ptb", 19_775_200): (48.45, 86.16, 82.07),  # medium
    ("ptb", 66_022_000): (37.87, 82.62, 78.29),  # large
}

_HEADER = """\
| run | parameters | epochs | train | valid | test | published valid / test | \
bits a character, valid / test | seed | tokens/s | wall time |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """What a run folder says of a run: results.json and flags.txt."""

    path: pathlib.Path
    results: dict[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.resolve().name


def recorded_runs(folder: pathlib.Path) -> list[RecordedRun]:
    """The runs in a folder that have measured an epoch, by name.

    Args:
      folder: a run folder, or a folder of run folders.

    Raises:
      UserError: there is none, or one cannot be read.
    """
    files = [*folder.glob("results.json"), *folder.glob("*/results.json")]
    if not files:
        raise UserError(f"--save_path={folder}: no recorded run (results.json) there")
    paths = sorted({file.parent for file in files})
    runs = [RunFolder(path) for path in paths]
    return [
        RecordedRun(run.path, run.read_results().to_json(), run.config())
        for run in runs
    ]


def results_table(folder: pathlib.Path, names: Collection[str] | None = None) -> str:
    """Markdown table of the runs in a folder.

    Args:
      folder: a run folder, or a folder of run folders.
      names: the runs to show, by the names of their folders; None: all.

    Raises:
      UserError: as `recorded_runs`.
    """
    runs = [run for run in recorded_runs(folder) if names is None or run.name in names]
    rows = [_row(run) for run in runs]
    machines = sorted({row[1] for row in rows})
    table = _HEADER + "".join(row[0] for row in rows)
    return table + "\nMeasured on: " + "; ".join(machines) + ".\n"


def _row(run: RecordedRun) -> tuple[str, str]:
    """One run's row, and the machine it ran on."""
    try:
        return _format_row(run.name, run.results, run.config), _machine(run.results)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{run.path}/results.json: not a run's results: {error}"
        ) from error


def _format_row(name: str, results: dict[str, Any], config: Config) -> str:
    """Scores of the last weights, as published; of an unfinished run, so far."""
    epochs = results["epochs"]
    speed = statistics.median(epoch["tokens_per_second"] for epoch in epochs)
    last = results.get("last_weights", {})
    published = PUBLISHED.get((results["corpus"], results["parameters"]))
    bits = [
        scores.get(f"{split}_bits_per_character")
        for scores, split in ((epochs[-1], "valid"), (last, "test"))
    ]
    cells = [
        name,
        f"{results['parameters']:,}",
        f"{len(epochs)} of {config.training.max_max_epoch}",
        f"{epochs[-1]['train_perplexity']:.2f}",
        f"{epochs[-1]['valid_perplexity']:.2f}",
        f"{last['test_perplexity']:.2f}" if last else "",
        f"{published[1]} / {published[2]}" if published else "",
        " / ".join(f"{value:.3f}" for value in bits if value is not None),
        str(results["seed"]),
        f"{speed:,.0f}",
        duration(results["wall_seconds"]),
    ]
    return "| " + " | ".join(cells) + " |\n"


def _machine(results: dict[str, Any]) -> str:
    """Hardware and TensorFlow of a run, in a few words."""
    machine = results["machine"]
    return (
        f"{machine['cores']} cores of {machine['processor']},"
        f" TensorFlow {results['versions']['tensorflow']}"
    )
