"""README, BUILD.md and the results table say what the code does."""

import json
import pathlib
import re

import pytest

import run_ptb
from ptb_lm.config import Config, option_groups
from ptb_lm.errors import UserError
from ptb_lm.reports import table

PROJECT = pathlib.Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text()
BUILD = (PROJECT / "BUILD.md").read_text()


def test_results_table_is_the_one_that_the_runs_make():
    begin, end = "<!-- results: begin -->\n", "<!-- results: end -->"
    shown = README.partition(begin)[2].partition(end)[0]
    assert shown == table.results_table(PROJECT / "results")


def test_speed_table_is_the_recorded_one(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    import benchmark

    recorded = json.loads((PROJECT / "benchmarks" / "results.json").read_text())
    shown = README.partition("<!-- speed: begin -->\n")[2]
    shown = shown.partition("<!-- speed: end -->")[0]
    assert shown == benchmark.table(recorded["rows"]) + "\n"


def test_mnist_figures_are_the_recorded_ones():
    path = PROJECT / "results" / "mnist-rows" / "mnist_rows.json"
    record = json.loads(path.read_text())
    scores = [f"{run['test_accuracy']:.2%}" for run in record["runs"]]
    seeds = [str(run["seed"]) for run in record["runs"]]
    text = README.partition("<!-- mnist: begin -->\n")[2]
    text = text.partition("<!-- mnist: end -->")[0]
    assert text == (
        f"Test accuracy {record['mean_test_accuracy']:.2%}, the mean of"
        f" {', '.join(scores)} (seeds {', '.join(seeds)}).\n"
    )
    assert record["mean_test_accuracy"] >= 0.93
    expected = {"train": 8000, "test": 2000, "iterations": 300, "batch_size": 128}
    expected |= {"units": 128, "learning_rate": 0.001}
    assert record.items() >= expected.items()


def test_ci_calls_the_test_command_of_the_readme():
    command = next(line for line in README.splitlines() if line.endswith("/pytest"))
    assert command in (PROJECT / ".ci" / "run").read_text().splitlines()


def test_every_flag_in_the_documents_exists():
    names = {field.name for _, fields in option_groups() for field in fields}
    names |= {"help", "helpfull", "flagfile", "logdir", "rounds", "presets"}
    names |= {"torch_python", "seconds", "output"}  # of the benchmark
    names |= {"out"}  # of the example with MNIST
    names |= {"bind_all"}  # of TensorBoard
    for text in (README, BUILD):
        commands = re.sub(r"(?m)^.*\b(saved_model_cli|pip|ruff|git)\b.*$", "", text)
        for name in re.findall(r"--([a-z_]+)", commands):
            assert name in names, f"--{name}"


def test_every_module_is_in_build_md():
    for path in (PROJECT / "ptb_lm").glob("*.py"):
        if path.name != "__init__.py":
            assert f"ptb_lm/{path.name} " in BUILD, path.name


@pytest.mark.parametrize(
    "preset", sorted(path.stem for path in (PROJECT / "flags").glob("*.flags"))
)
def test_presets_are_valid(preset):
    assert run_ptb.parse([f"--model={preset}"]).run.model == preset


def test_flags_of_a_run_are_the_configuration():
    config = run_ptb.parse(["--model=medium", "--tied", "--seed=5"])
    assert Config.from_text(config.to_text(), "text") == config


def write_run(folder, results=None, flags=None):
    folder.mkdir(parents=True)
    recorded = PROJECT / "results" / "small"
    text = (recorded / "results.json").read_text() if results is None else results
    (folder / "results.json").write_text(text)
    text = (recorded / "flags.txt").read_text() if flags is None else flags
    (folder / "flags.txt").write_text(text)


def test_table_of_an_unfinished_run(tmp_path):
    results = json.loads((PROJECT / "results/small/results.json").read_text())
    results["epochs"] = results["epochs"][:3]
    del results["last_weights"]
    write_run(tmp_path / "mine", json.dumps(results))
    third = results["epochs"][2]
    train, valid = third["train_perplexity"], third["valid_perplexity"]
    row = table.results_table(tmp_path).splitlines()[2]
    assert row.startswith(
        f"| mine | 4,651,600 | 3 of 13 | {train:.2f} | {valid:.2f} |  |"
    )


@pytest.mark.parametrize("results", ["", "[]", "{}", '{"epochs": []}', '{"epochs": 1}'])
def test_damaged_results(tmp_path, results):
    write_run(tmp_path / "run", results)
    with pytest.raises(UserError, match=r"results\.json: not"):
        table.results_table(tmp_path)


def test_no_runs(tmp_path):
    with pytest.raises(UserError, match="no recorded run"):
        table.results_table(tmp_path)
