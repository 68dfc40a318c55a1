"""The figures show what was recorded, and README's are the ones that are made."""

import pathlib
import re
import sys
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure

import run_ptb
from ptb_lm.errors import UserError
from ptb_lm.reports import figures
from ptb_lm.reports.recorded import read_runs
from tests.support.documents import README

PROJECT = pathlib.Path(__file__).resolve().parents[2]
RUNS = PROJECT / "results"
HEAD = "**ptb, vocabulary of 10,000 words**\n\n| run |"


def draw_all(folder):
    sys.path.insert(0, str(PROJECT / "benchmarks"))
    import benchmark

    sys.path.pop(0)
    ratios = benchmark.ratios_by_machine(benchmark.recorded())
    paths = figures.draw_runs(read_runs(RUNS).runs, folder).paths
    return [*paths, figures.draw_benchmark(ratios, folder / "speed.svg")]


def shown(path):
    """The digest of its data that a figure carries."""
    return re.findall(r"data [0-9a-f]{64}", path.read_text())


def test_figures_of_the_readme_are_the_ones_that_are_made(tmp_path):
    for path in draw_all(tmp_path):
        recorded = RUNS / "figures" / path.name
        assert len(shown(path)) == 1
        assert shown(recorded) == shown(path)
        assert f"(results/figures/{path.name})" in README


def test_the_same_bytes_each_time(tmp_path):
    ratios = {"one": {"a": 1.5, "b": 0.5}, "other": {"b": 2.0}}
    one, other = (figures.draw_benchmark(ratios, tmp_path / name) for name in "ab")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "axis, key, unit", [("epoch", "epoch", 1), ("hours", "wall_seconds", 3600)]
)
def test_curves_are_the_recorded_scores(tmp_path, monkeypatch, axis, key, unit):
    drawn = {}
    monkeypatch.setattr(
        figures, "_save", lambda path, data, draw: drawn.update({path.name: draw})
    )
    runs = read_runs(RUNS).runs
    drawn_runs = figures.draw_runs(runs, tmp_path)
    assert drawn_runs.left_out == ["ptb_char-1-epoch"]
    name = {"epoch": "learning_curves.svg", "hours": "wall_time.svg"}[axis]
    figure = Figure()
    drawn[name](figure)
    curves = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    for run in runs:
        if run.name in drawn_runs.left_out:
            assert run.name not in curves and len(run.results.epochs) == 1
            continue
        epochs = [epoch.to_json() for epoch in run.results.epochs]
        x, y = curves[run.name].get_data()
        assert x.tolist() == pytest.approx([epoch[key] / unit for epoch in epochs])
        assert y.tolist() == [epoch["valid_perplexity"] for epoch in epochs]
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "published, small: 121.39" in texts


def test_a_panel_for_each_corpus_and_a_floor(tmp_path):
    data = {}
    for corpus, floor in (("ptb", {}), ("builtin", {"lowest possible": 9.79})):
        run = {"epoch": [1, 2], "hours": [0.1, 0.2], "train": [9.0, 8.0]}
        data[corpus] = {"runs": {"a": run | {"valid": [12.0, 11.0]}}, "lines": floor}
    figure = Figure()
    figures._panels(figure, data, "epoch")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.partition(":")[0] for title in titles] == ["ptb", "builtin"]
    assert [text.get_text() for text in figure.axes[1].texts] == [
        "lowest possible: 9.79"
    ]


def test_runs_of_one_epoch_alone_make_no_figure(tmp_path):
    runs = [run for run in read_runs(RUNS).runs if len(run.results.epochs) == 1]
    assert figures.draw_runs(runs, tmp_path / "f") == figures.Drawn(
        [], ["ptb_char-1-epoch"]
    )
    assert not (tmp_path / "f").exists()


def test_names_are_drawn_as_they_are(tmp_path):
    """Not as mathematics, nor left out, nor as another line of the legend."""
    names = ["_hidden", "a$x^2$b$", "<b>&", "two\nlines", "n" * 60]
    curve = {"epoch": [1, 2], "hours": [0.1, 0.2], "train": [9.0, 8.0]}
    curve["valid"] = [12.0, 11.0]
    data = {"$c_1$ <i>": {"runs": dict.fromkeys(names, curve), "lines": {"$": 9.0}}}
    figures._save(
        tmp_path / "a.svg", data, lambda figure: figures._panels(figure, data, "epoch")
    )
    ElementTree.parse(tmp_path / "a.svg")
    figure = Figure()
    with matplotlib.rc_context(figures.STYLE):
        figures._panels(figure, data, "epoch")
        (axes,) = figure.axes
        texts = axes.get_legend().get_texts()
        assert [text.get_text() for text in texts] == [
            *names[:3], r"'two\nlines'", "n" * 11 + "…" + "n" * 12
        ]  # fmt: skip
        assert not any(text.get_parse_math() for text in (*texts, *axes.texts))


def test_report_writes_the_figures_where_it_is_told(tmp_path, capsys):
    arguments = ["--mode=report", f"--save_path={RUNS}", f"--figures_path={tmp_path}/f"]
    assert run_ptb.main(arguments) == 0
    output, error = capsys.readouterr()
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [
        "learning_curves.svg", "wall_time.svg"
    ]  # fmt: skip
    assert (
        output.startswith("**ptb, vocabulary of 10,000 words**\n\n| run |")
        and f"{tmp_path}/f/wall_time.svg" in error
    )


def test_without_matplotlib_the_table_is_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["--mode=report", f"--save_path={RUNS}", f"--figures_path={tmp_path}/f"]
    assert run_ptb.main(arguments) == 0
    output, error = capsys.readouterr()
    assert output.startswith(HEAD)
    assert error == (
        "run_ptb.py: no figures: matplotlib is missing (pip install"
        " 'matplotlib>=3.10,<4')\n"
    )
    assert not (tmp_path / "f").exists()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot create the folder"):
        figures.draw_benchmark({}, tmp_path / "file" / "speed.svg")
