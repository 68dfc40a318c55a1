"""benchmarks/trials.py: plans of trials, and the table of what they reached."""

import dataclasses
import importlib
import re
import sys

import pytest

from ptb_lm.config import Config
from ptb_lm.reports.recorded import RecordedRun
from ptb_lm.runs.results import EpochScores
from tests.support.documents import PROJECT
from tests.support.results import RESULTS

PLAN = """\
# A comment.
all:    --max_max_epoch=2 --hidden_size=4 --num_layers=1  # of every trial
plain:
tied: --tied --keep_prob=0.5
"""


@pytest.fixture
def trials(monkeypatch):
    """The module, which lies outside the package."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    return importlib.import_module("trials")


def run(path, valid, **options):
    """A recorded run of epochs with these valid perplexities."""
    epochs = [
        EpochScores(number, 5 * number, 1.0, 30.0, value, 100.0, 2.0)
        for number, value in enumerate(valid, 1)
    ]
    results = dataclasses.replace(
        RESULTS, seed=options["seed"], epochs=epochs, training_flop=2 * 10**15
    )
    return RecordedRun(path, results, Config.from_values(options))


def cells(table):
    """The rows' cells, without the heading's."""
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_a_plan_names_trials_and_their_options(trials):
    common = ["--max_max_epoch=2", "--hidden_size=4", "--num_layers=1"]
    assert trials.read_plan(PLAN) == {
        "plain": common,
        "tied": [*common, "--tied", "--keep_prob=0.5"],
    }


def test_the_table_has_means_over_seeds_and_options_that_differ(trials, tmp_path):
    shape = {"max_max_epoch": 2, "hidden_size": 4}
    runs = [
        run(tmp_path / "plain-1", [20.0, 10.0], seed=1, **shape),
        run(tmp_path / "plain-2", [22.0, 14.0], seed=2, **shape),
        run(tmp_path / "tied-1", [9.0], seed=1, tied=True, **shape),
    ]
    assert cells(trials.table(runs)) == [
        [
            "plain",
            "`--hidden_size=4 --max_max_epoch=2`",
            "1, 2",
            "2.000",
            "21.0 12.0",
            "12.00 ± 2.83",
        ],
        ["tied", "`--tied=true`", "1", "2.000", "9.0", "stopped before epoch 2"],
    ]


def test_the_rows_are_in_the_order_of_the_plan(trials, tmp_path):
    runs = [
        run(tmp_path / "adamw-1", [9.0], seed=1, optimizer="adamw"),
        run(tmp_path / "other-1", [8.0], seed=1, batch_size=3),
        run(tmp_path / "plain-1", [7.0], seed=1),
        run(tmp_path / "plain-2", [6.0], seed=2),
    ]
    ordered = trials.in_order(runs, trials.read_plan("plain:\nadamw:\n"))
    assert [each.name for each in ordered] == [
        "plain-1",
        "plain-2",
        "adamw-1",
        "other-1",
    ]


@pytest.mark.slow
def test_trials_are_trained_once_and_taken_up(trials, tmp_path, monkeypatch, capsys):
    plan = tmp_path / "made-up.plan"
    plan.write_text(PLAN)
    words = "one two three four five six seven eight\n"
    text = tmp_path / "text.txt"
    text.write_text(words * 60)
    command = f"trials.py train {plan} --seeds=3 --save_path={tmp_path / 'runs'}"
    options = f"--data_path={text} --batch_size=2 --num_steps=3 --sample_tokens=0"
    monkeypatch.setattr(sys, "argv", [*command.split(), *options.split()])
    assert trials.main() == 0
    folders = sorted(p.name for p in (tmp_path / "runs").iterdir() if p.is_dir())
    assert folders == ["plain-3", "tied-3"]
    monkeypatch.setattr(
        sys, "argv", ["trials.py", "table", str(tmp_path / "runs"), f"--plan={plan}"]
    )
    capsys.readouterr()
    assert trials.main() == 0
    table = cells(capsys.readouterr().out)
    assert [row[0] for row in table] == ["plain", "tied"]
    for row in table:
        assert row[2] == "3" and re.fullmatch(r"\d+\.\d\d", row[5])
