"""The results tables: what is in them, what is beside them, and their means."""

import dataclasses
import json
import pathlib
import statistics

import pytest

import run_ptb
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.reports.not_run import not_run_table
from ptb_lm.reports.recorded import RecordedRun, read_runs
from ptb_lm.reports.table import results_table
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.presets import preset_config
from ptb_lm.runs.results import SplitScores, TextRecord
from tests.support.documents import PROJECT
from tests.support.results import RESULTS

MACHINE = {"cores": 2, "processor": "a processor"}
VERSIONS = {"tensorflow": "2"}


def recorded(name, config=None, **values):
    """A run that never was, of two epochs."""
    results = dataclasses.replace(
        RESULTS, machine=MACHINE, versions=VERSIONS, training_flop=10**15, **values
    )
    config = config or Config.from_values(
        {"max_max_epoch": 2, "seed": results.seed, "data_path": "made-up"}
    )
    return RecordedRun(pathlib.Path("/runs") / name, results, config)


def rows(table):
    """First cell -> the others, of a Markdown table; the last of each name."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}


def scores(test):
    return SplitScores(20.0, 20.5, test)


def test_seeds_have_a_mean_and_a_standard_deviation():
    """Of the runs that differ in the seed alone, and of each seed once."""
    tests = {1: 110.0, 2: 112.5, 3: 119.0}
    runs = [
        recorded(f"r{seed}", seed=seed, last_weights=scores(test))
        for seed, test in tests.items()
    ]
    wider = Config.from_values({"hidden_size": 9, "max_max_epoch": 2, "seed": 4})
    runs.insert(1, recorded("other", wider, seed=4))
    runs.append(recorded("r1-again", seed=1, last_weights=scores(110.0)))
    runs.append(recorded("r5-unfinished", seed=5, last_weights=None))
    table = results_table(runs)
    names = [line.split(" | ")[0] for line in table.splitlines() if "| r" in line]
    assert names == [
        "| run", "| r1", "| r2", "| r3", "| r1-again", "| r5-unfinished"
    ]  # fmt: skip
    mean, deviation = statistics.mean(tests.values()), statistics.stdev(tests.values())
    cells = dict(zip(rows(table)["run"], rows(table)["mean of 3 seeds"], strict=True))
    assert cells["test"] == f"{mean:.2f} ± {deviation:.2f}"
    assert cells["valid"] == "26.00 ± 0.00"
    assert cells["parameters"] == "100" and cells["tokens/s"] == "105"
    assert table.count("mean of") == 1
    assert "Without final scores: r5-unfinished (2 of 2 epochs)." in table


def test_corpora_have_a_table_each_and_the_penn_treebank_comes_first():
    char = Config.from_values({"token_type": "char", "max_max_epoch": 2})
    runs = [
        recorded("a", corpus="anna"),
        recorded("b", char, corpus="ptb", vocabulary_size=50),
        recorded("c", corpus="ptb", vocabulary_size=10_000),
        recorded("d", corpus="ptb", vocabulary_size=9_999),
    ]
    headings = [
        line for line in results_table(runs).splitlines() if line.startswith("**")
    ]
    assert headings == [
        "**ptb, vocabulary of 10,000 words**",
        "**ptb, vocabulary of 50 characters**",
        "**ptb, vocabulary of 9,999 words**",
        "**anna, vocabulary of 8 words**",
    ]


def test_the_share_of_unk_in_the_test_text():
    """Where there is any, and the run recorded it."""

    def cells(*runs):
        found = rows(results_table([*runs]))
        titles, values = found["run"], found[runs[0].name]
        return dict(zip(titles, values, strict=True))

    def texts(share):
        return {"test": TextRecord(82_430, share, "abc")}

    title = "`<unk> in test, %`"
    some, older = recorded("a", texts=texts(0.0577)), recorded("b", texts={})
    assert cells(some, older)[title] == "5.77"
    assert cells(older, some)[title] == ""
    assert title not in cells(older)
    assert title not in cells(recorded("a", texts=texts(0.0)))
    seeds = [recorded(f"r{n}", seed=n, texts=texts(0.5)) for n in (1, 2)]
    found = rows(results_table(seeds))
    mean = dict(zip(found["run"], found["mean of 2 seeds"], strict=True))
    assert mean[title] == "50"
    assert "in test, %" in results_table([some], 200)


def test_nothing_that_a_run_says_is_markup():
    run = recorded("_<b>_", last_weights=None)
    machine = MACHINE | {"processor": "<img>\x1b[31m\n|"}
    run = dataclasses.replace(
        run, results=dataclasses.replace(run.results, machine=machine)
    )
    table = results_table([run])
    assert "Without final scores: `_<b>_` (2 of 2 epochs)." in table
    assert r"Measured on: `'2 cores of <img>\x1b[31m\n|, TensorFlow 2'`." in table
    assert results_table([run], 200).splitlines()[-1].isprintable()


def test_published_numbers_are_those_of_the_same_network():
    def cell(name, **options):
        values = preset_config(name).values() | options
        config = Config.from_values(values)
        run = recorded("x", config, corpus="ptb", vocabulary_size=10_000)
        return run.published()

    assert cell("medium").test == 82.07
    assert cell("medium", seed=7, rnn_mode="keras", dtype="bfloat16").test == 82.07
    assert cell("gal_medium").test == 79.7, "as many parameters as medium"
    assert cell("medium", tied=True) is None
    assert cell("medium", token_type="char") is None
    assert cell("anna") is None


def test_what_was_not_run_is_what_no_finished_run_has():
    assert "| small |" in not_run_table([])
    small = preset_config("small")
    place = {"corpus": "ptb", "vocabulary_size": 10_000}
    done = recorded("x", small, **place)
    assert "| small |" not in not_run_table([done])
    half = recorded("x", small, **place, finished=False)
    assert "| small |" in not_run_table([half])
    assert "| - / 75.96 |" in not_run_table([])
    lines = not_run_table([], 80).splitlines()
    assert max(map(len, lines)) <= 80 and "|" not in lines[0]


def test_a_terminals_lines_fit():
    runs = [recorded("x" * 50, seed=seed) for seed in (1, 2)]
    runs.append(recorded("y", seed=3, last_weights=None))
    table = results_table(runs, 60)
    assert max(map(len, table.splitlines())) <= 60
    assert "No room for: " in table and "parameters" in table
    assert "No room for" not in results_table(runs, 200)


def write_run(folder, results=None, flags=None):
    folder.mkdir(parents=True)
    recorded = PROJECT / "results" / "small-later-schedule"
    text = (recorded / "results.json").read_text() if results is None else results
    (folder / "results.json").write_text(text)
    text = (recorded / "flags.txt").read_text() if flags is None else flags
    (folder / "flags.txt").write_text(text)


def test_table_of_an_unfinished_run(tmp_path):
    results = json.loads(
        (PROJECT / "results/small-later-schedule/results.json").read_text()
    )
    results["epochs"] = results["epochs"][:3]
    del results["last_weights"]
    write_run(tmp_path / "mine", json.dumps(results))
    third = results["epochs"][2]
    train, valid = third["train_perplexity"], third["valid_perplexity"]
    row = results_table(read_runs(tmp_path).runs).splitlines()[4]
    assert row.startswith(
        f"| mine | 4,651,600 | 0.0442 | 3 of 13 | {train:.2f} | {valid:.2f} | 121.39 /"
    )


@pytest.mark.parametrize("results", ["", "[]", "{}", '{"epochs": 1}'])
def test_damaged_results(tmp_path, results):
    write_run(tmp_path / "run", results)
    with pytest.raises(UserError, match=r"results\.json: not"):
        read_runs(tmp_path)


def test_no_runs(tmp_path):
    with pytest.raises(UserError, match="no recorded run"):
        read_runs(tmp_path)


def test_a_run_without_an_epoch_is_named_and_stops_nothing(tmp_path, capsys):
    results = json.loads(
        (PROJECT / "results/small-later-schedule/results.json").read_text()
    )
    write_run(tmp_path / "whole")
    write_run(tmp_path / "no epoch", json.dumps(results | {"epochs": []}))
    write_run(tmp_path / "begun")
    (tmp_path / "begun" / "results.json").unlink()
    (tmp_path / "no run").mkdir()
    assert [run.name for run in read_runs(tmp_path).runs] == ["whole"]
    assert read_runs(tmp_path).without_epoch == ["begun", "no epoch"]
    assert run_ptb.main(["--mode=report", f"--save_path={tmp_path}"]) == 0
    output = capsys.readouterr().out
    assert "\nLeft out, without an epoch so far: begun, no epoch.\n" in output
    (tmp_path / "whole" / "results.json").unlink()
    with pytest.raises(UserError, match="none has ended an epoch"):
        read_runs(tmp_path)


def test_a_run_of_its_own_is_read_too(tmp_path):
    write_run(tmp_path / "run")
    (run,) = read_runs(tmp_path / "run").runs
    assert run.name == "run"
    assert run.config == RunFolder(tmp_path / "run").config()
