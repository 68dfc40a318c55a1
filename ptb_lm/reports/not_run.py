"""The presets with published numbers that no recorded run has completed."""

from collections.abc import Sequence

from ptb_lm.config import Config
from ptb_lm.reports.layout import Row, markdown_table, text_table
from ptb_lm.reports.recorded import RecordedRun
from ptb_lm.runs.presets import Published, preset_config, presets, published

PTB_TOKENS, PTB_WORDS = 929_589, 10_000  # of the training text, and different ones
# Of medium at 2,450 tokens a second on two cores; README has the speeds.
PFLOP_AN_HOUR = 0.7
_TITLES = ("preset", "PFLOP", "hours on two cores", "published\nvalid / test")
_IMPORTANCE = ("preset", "published\nvalid / test", "PFLOP", "hours on two cores")


def not_run_table(runs: Sequence[RecordedRun], width: int | None = None) -> str:
    """Table of the presets with published numbers that no run has completed.

    Args:
      runs: the recorded ones.
      width: as in `results_table`.

    Returns:
      The table; empty where every such preset has a finished run.
    """
    done = {
        run.config.run.model
        for run in runs
        if run.results.finished and run.published() is not None
    }
    rows = [
        _row(name, numbers)
        for name in presets()
        if name not in done and (numbers := published(name)) is not None
    ]
    if not rows:
        return ""
    if width is None:
        return markdown_table(_TITLES, rows)
    return text_table(_TITLES, rows, width, _IMPORTANCE)[0]


def _row(name: str, numbers: Published) -> Row:
    """What a preset would cost on the Penn Treebank's words, and its numbers."""
    cost = training_pflop(preset_config(name))
    hours = cost / PFLOP_AN_HOUR
    valid = "-" if numbers.valid is None else numbers.valid
    return {
        "preset": name,
        "PFLOP": f"{cost:.3g}",
        "hours on two cores": f"{hours:.1f}" if hours < 1 else f"{hours:.0f}",
        "published\nvalid / test": f"{valid} / {numbers.test}",
    }


def training_pflop(config: Config) -> float:
    """Cost of a whole training on the Penn Treebank's words."""
    from ptb_lm.training.cost import flop_of_equal_windows

    training = config.training
    steps = (PTB_TOKENS // training.batch_size - 1) // training.num_steps
    steps *= training.max_max_epoch
    return flop_of_equal_windows(config, PTB_WORDS, steps) / 1e15
