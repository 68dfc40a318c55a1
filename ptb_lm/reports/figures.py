"""Pictures of recorded runs and benchmarks, as SVG files.

matplotlib, which draws them, is an optional dependency (`pip install -e '.[plots]'`).
A picture's bytes are a function of what it shows and of matplotlib's version: there
is no date in it, and a digest of its data is.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from ptb_lm.errors import UserError
from ptb_lm.reports.layout import printable, shortened
from ptb_lm.reports.recorded import RecordedRun, by_corpus, corpus_title
from ptb_lm.runs.results import EpochScores
from ptb_lm.system import files

# Okabe and Ito's colours, which colour-blind people tell apart (without the yellow
# and the black, which serve elsewhere or are faint on white).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^v"
STYLE: Any = {
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#DDDDDD",
    "svg.hashsalt": "ptb_lm",  # ids in the file: the same every time
    "svg.fonttype": "path",
    "text.parse_math": False,  # a name may have a $ in it
}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What `draw_runs` has done.

    Attributes:
      paths: the files written: learning_curves.svg, wall_time.svg; none where no run
        has a curve.
      left_out: names of the runs with one epoch, which makes no curve.
    """

    paths: list[pathlib.Path]
    left_out: list[str]


def draw_runs(runs: list[RecordedRun], folder: pathlib.Path) -> Drawn:
    """Draws the learning curves, against epochs and against time.

    Args:
      runs: what to draw; runs that may be compared share a panel.
      folder: where the figures go; made if it is missing.

    Raises:
      UserError: matplotlib is not there, or a file cannot be written.
    """
    drawn = [run for run in runs if len(run.results.epochs) > 1]
    left_out = [run.name for run in runs if run not in drawn]
    if not drawn:
        return Drawn([], left_out)
    data = {
        corpus_title(corpus): _panel(members)
        for corpus, members in by_corpus(drawn).items()
    }
    curves, times = folder / "learning_curves.svg", folder / "wall_time.svg"
    _save(curves, data, lambda figure: _panels(figure, data, "epoch"))
    _save(times, data, lambda figure: _panels(figure, data, "hours"))
    return Drawn([curves, times], left_out)


def _panel(runs: list[RecordedRun]) -> dict[str, Any]:
    """The curves of runs that may be compared, and the lines to compare them with."""
    lines = {}
    for run in runs:
        published = run.published()
        if published and published.valid is not None:
            lines[f"published, {run.results.model}"] = published.valid
        if run.results.floor_perplexity is not None:
            lines["lowest possible"] = run.results.floor_perplexity
    return {
        "runs": {run.name: _curves(run.results.epochs) for run in runs},
        "lines": lines,
    }


def _curves(epochs: list[EpochScores]) -> dict[str, list[float]]:
    """The learning curves of a run, a value for each epoch."""
    return {
        "epoch": [each.epoch for each in epochs],
        "hours": [_hours(each) for each in epochs],
        "train": [each.train_perplexity for each in epochs],
        "valid": [each.valid_perplexity for each in epochs],
    }


def _hours(scores: EpochScores) -> float:
    """Time by the end of an epoch; a run without it has no curve against time."""
    return math.nan if scores.wall_seconds is None else scores.wall_seconds / 3600


def draw_benchmark(
    ratios: dict[str, dict[str, float]], path: pathlib.Path
) -> pathlib.Path:
    """Draws this project's speed over PyTorch's as bars.

    Args:
      ratios: machine -> row of the benchmark -> ratio.
      path: the file to write.

    Raises:
      UserError: as `draw_runs`.
    """
    _save(path, ratios, lambda figure: _bars(figure, ratios))
    return path


def _panels(figure: Any, data: dict[str, Any], axis: str) -> None:
    """Perplexity against epochs or hours, a panel for each corpus."""
    columns = min(len(data), 2)
    rows = -(-len(data) // columns)
    figure.set_size_inches(7.5 if columns == 1 else 12, 4.6 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(data) :]:
        axes.remove()
    for axes, (title, panel) in zip(panels, data.items(), strict=False):
        handles: list[Any] = []
        for index, (name, run) in enumerate(panel["runs"].items()):
            colour = COLOURS[index % len(COLOURS)]
            marker = MARKERS[index % len(MARKERS)]
            style = {"marker": marker, "ms": 4, "markevery": len(run[axis]) // 40 + 1}
            handles += axes.plot(
                run[axis], run["valid"], color=colour, label=name, **style
            )
            if axis == "epoch":
                axes.plot(run[axis], run["train"], color=colour, ls="--", lw=1)
        for index, (name, value) in enumerate(panel["lines"].items()):
            axes.axhline(value, color="#555555", lw=1, ls=(index, (1, 2)))
            axes.annotate(
                f"{name}: {value:.2f}",
                (1, value),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=8,
            )
        axes.set_title(printable(title), loc="left")
        dashes = ", valid (solid) and train (dashed)" if axis == "epoch" else ", valid"
        axes.set_ylabel(f"perplexity{dashes}")
        axes.set_xlabel("epoch" if axis == "epoch" else "hours of wall time")
        axes.xaxis.get_major_locator().set_params(integer=axis == "epoch")
        _logarithmic(axes)
        # Given as a list, a name with an underscore at its front is there too.
        names = [shortened(printable(name)) for name in panel["runs"]]
        axes.legend(
            handles,
            names,
            frameon=False,
            fontsize=8,
            ncols=2,
            loc="upper left",
            bbox_to_anchor=(0, -0.13),  # below the axis, where no curve is
        )


def _logarithmic(axes: Any) -> None:
    """A logarithmic axis with plain numbers, of which there are a few."""
    from matplotlib import ticker

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = (1, 1.5, 2, 3, 5, 7) if high < 1000 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _bars(figure: Any, ratios: dict[str, dict[str, float]]) -> None:
    """A group of bars for each row, a bar for each machine that has it.

    On a logarithmic axis twice as fast is as long as half as fast.
    """
    from matplotlib import ticker

    names = list(dict.fromkeys(name for rows in ratios.values() for name in rows))
    figure.set_size_inches(8, 1.2 + 0.26 * sum(map(len, ratios.values())))
    axes = figure.subplots()
    place, ticks = 0.0, []
    drawn: dict[str, Any] = {}
    for name in names:
        begin = place
        for index, (machine, rows) in enumerate(ratios.items()):
            if name in rows:
                ratio, colour = rows[name], COLOURS[index]
                bar = axes.barh(place, ratio - 1, 0.9, left=1, color=colour)
                axes.bar_label(bar, [f"{ratio:.2f}"], padding=3, fontsize=8)
                drawn[machine] = bar
                place += 1
        ticks.append((begin + place - 1) / 2)
        place += 0.6
    axes.axvline(1, color="#555555", lw=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.set_yticks(ticks, names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    axes.grid(False)
    axes.set_xlabel("times the speed of PyTorch")
    figure.legend(
        drawn.values(), drawn, frameon=False, fontsize=8, loc="outside upper center"
    )


def _save(path: pathlib.Path, data: Any, draw: Callable[[Any], None]) -> None:
    """Draws on a figure and writes it."""
    with _matplotlib() as figure_class:
        files.make_folder(path.parent)
        figure = figure_class(layout="constrained", facecolor="white")
        draw(figure)
        content = io.BytesIO()
        metadata = {"Date": None, "Description": digest(data)}
        figure.savefig(content, format="svg", metadata=metadata)
    files.write_atomically(path, lambda file: file.write(content.getvalue()))


def digest(data: Any) -> str:
    """Fingerprint of what a figure shows."""
    return f"data {hashlib.sha256(json.dumps(data).encode()).hexdigest()}"


@contextlib.contextmanager
def _matplotlib() -> Iterator[type]:
    """Matplotlib's Figure, in our style; UserError where there is none."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(
            "no figures: matplotlib is missing (pip install 'matplotlib>=3.10,<4')"
        ) from None
    with matplotlib.rc_context(STYLE):
        yield Figure
