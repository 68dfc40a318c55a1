"""The results table, made from recorded runs and nothing else."""

import dataclasses
import pathlib
import statistics

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.results import Results
from ptb_lm.system.progress import duration

# Train, valid and test perplexity printed in the header of the PTB tutorial's
# ptb_word_lm.py. They are the tutorial's own: Zaremba et al. (2014), table 1, give
# 86.2 / 82.7 for the valid and test text of medium, and 82.2 / 78.4 of large. The
# number of parameters tells the models apart, tied ones among them.
PUBLISHED = {
    ("ptb", 4_651_600): (37.99, 121.39, 115.91),  # small
    ("ptb", 19_775_200): (48.45, 86.16, 82.07),  # medium
    ("ptb", 66_022_000): (37.87, 82.62, 78.29),  # large
}

_HEADER = """\
| run | parameters | PFLOP | epochs | train | valid | test | published valid / test | \
bits a character, valid / test | seed | tokens/s | wall time |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """What a run folder says of a run that has measured an epoch.

    Attributes:
      path: the folder.
      results: of results.json.
      config: of flags.txt.
    """

    path: pathlib.Path
    results: Results
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
    return [_recorded(RunFolder(path)) for path in sorted({f.parent for f in files})]


def _recorded(folder: RunFolder) -> RecordedRun:
    """A run that has measured an epoch; UserError where it has not."""
    results = folder.read_results()
    if not results.epochs:
        raise UserError(f"{folder.path}/results.json: not a run's results: no epochs")
    return RecordedRun(folder.path, results, folder.config())


def results_table(runs: list[RecordedRun]) -> str:
    """Markdown table of runs, at least one.

    Raises:
      UserError: the results of one do not say what machine they were measured on.
    """
    machines = sorted({_machine(run) for run in runs})
    table = _HEADER + "".join(map(_row, runs))
    return table + "\nMeasured on: " + "; ".join(machines) + ".\n"


def _row(run: RecordedRun) -> str:
    """Scores of the last weights, as published; of an unfinished run, so far."""
    results, last = run.results, run.results.last_weights
    epoch = results.epochs[-1]
    speed = statistics.median(each.tokens_per_second for each in results.epochs)
    published = PUBLISHED.get((results.corpus, results.parameters))
    bits = [epoch.valid_bits_per_character, last and last.test_bits_per_character]
    cells = [
        run.name,
        f"{results.parameters:,}",
        f"{_training_flop(run) / 1e15:.3g}",
        f"{len(results.epochs)} of {run.config.training.max_max_epoch}",
        f"{epoch.train_perplexity:.2f}",
        f"{epoch.valid_perplexity:.2f}",
        f"{last.test_perplexity:.2f}" if last else "",
        f"{published[1]} / {published[2]}" if published else "",
        " / ".join(f"{value:.3f}" for value in bits if value is not None),
        str(results.seed),
        f"{speed:,.0f}",
        duration(results.wall_seconds),
    ]
    return "| " + " | ".join(cells) + " |\n"


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
        return (
            f"{results.machine['cores']} cores of {results.machine['processor']},"
            f" TensorFlow {results.versions['tensorflow']}"
        )
    except (LookupError, TypeError) as error:
        raise UserError(
            f"{run.path}/results.json: not a run's results: {error}"
        ) from error
