"""Runs that are resumed under other conditions: options that change, another machine.

The compiled step is replaced by figures made up here; test_resume.py has the real one.
"""

import json
import re

import numpy as np
import pytest

from ptb_lm.errors import UserError
from ptb_lm.runs import conditions, provenance
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.results import Change
from ptb_lm.system.interrupts import Interrupted, Interrupts
from tests.support.files import snapshot
from tests.support.made_up import WINDOWS, train


def last(path):
    return RunFolder(path).checkpoints.load("last")


def written(path):
    return json.loads((path / "results.json").read_text())


def stop_at(monkeypatch, check):
    """A signal that is noticed at so many checks."""
    calls = []

    def noticed(self):
        calls.append(None)
        if len(calls) == check:
            raise Interrupted(2)

    monkeypatch.setattr(Interrupts, "check", noticed)


def train_part(monkeypatch, path, check=5, **options):
    """Trains until a signal, which saves; returns the steps that were taken."""
    with monkeypatch.context() as patched:
        stop_at(patched, check)
        with pytest.raises(Interrupted):
            train(path, **options)
    return last(path).metadata["position"]["step"]


# --- Another number of epochs ------------------------------------------------------


def test_a_finished_run_becomes_longer(made_up, tmp_path, capsys):
    """By --max_max_epoch alone, and ends as one that was this long from the start."""
    path = tmp_path / "run"
    train(tmp_path / "long", max_max_epoch=4)
    train(path)
    capsys.readouterr()
    results = train(path, max_max_epoch=4)
    output = capsys.readouterr().out
    assert f"Resumed {path}/checkpoints/last-000000{2 * WINDOWS}-" in output
    assert "at epoch 3, step 0 of 12" in output
    assert "From here on: --max_max_epoch 2 before, 4 now" in output
    assert results.finished and [e.epoch for e in results.epochs] == [1, 2, 3, 4]
    rates = [e.learning_rate for e in results.epochs]
    assert rates == [
        e.learning_rate for e in train(tmp_path / "long", max_max_epoch=4).epochs
    ]
    found, expected = last(path).arrays, last(tmp_path / "long").arrays
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    change = Change(2 * WINDOWS, "--max_max_epoch", 2, 4)
    assert results.changes == [change]
    assert written(path)["changes"] == [change.to_json()]
    assert RunFolder(path).config().training.max_max_epoch == 4


def test_a_finished_run_says_that_it_is_finished(made_up, tmp_path, capsys):
    path = tmp_path / "run"
    train(path)
    assert "Trained already" not in capsys.readouterr().out
    train(path)
    output = capsys.readouterr().out
    assert "Trained already, 2 epochs; --max_max_epoch=N makes" in output
    assert "Resumed" not in output


def test_a_run_that_becomes_longer_is_not_finished_meanwhile(
    made_up, monkeypatch, tmp_path
):
    path = tmp_path / "run"
    train(path)
    assert written(path)["finished"]
    train_part(monkeypatch, path, max_max_epoch=3)
    results = written(path)
    assert not results["finished"] and "last_weights" not in results
    assert len(results["epochs"]) == 2 and results["changes"]
    # --save_path alone goes on with the new number.
    results = train(path, max_max_epoch=RunFolder(path).config().training.max_max_epoch)
    assert results.finished and len(results.epochs) == 3
    assert [change.step for change in results.changes] == [2 * WINDOWS]


def test_a_run_becomes_shorter_but_not_than_it_is(made_up, monkeypatch, tmp_path):
    path = tmp_path / "run"
    steps = train_part(monkeypatch, path, max_max_epoch=3, check=10)
    assert WINDOWS < steps < 2 * WINDOWS
    before = snapshot(path)
    with pytest.raises(UserError, match=r"max_epoch=1: .*run is in epoch 2 already"):
        train(path, max_max_epoch=1)
    assert snapshot(path) == before
    results = train(path, max_max_epoch=2)
    assert results.finished and len(results.epochs) == 2


@pytest.mark.parametrize("schedule", ["cosine", "linear", "one_cycle"])
def test_where_the_length_decides_the_rates_it_must_be_asked_for(
    made_up, tmp_path, schedule
):
    path, options = tmp_path / "run", {"schedule": schedule, "warmup": 0.1}
    train(path, **options)
    before = snapshot(path)
    with pytest.raises(UserError, match=f"schedule={schedule} the number of epochs"):
        train(path, max_max_epoch=4, **options)
    assert snapshot(path) == before
    results = train(path, max_max_epoch=4, change_options=True, **options)
    assert len(results.epochs) == 4 and len(results.changes) == 1
    # The rates of the longer run, from now on.
    rates = [epoch.learning_rate for epoch in results.epochs]
    assert rates[1] < rates[2] > rates[3]
    long = train(tmp_path / "long", max_max_epoch=4, **options)
    assert rates[2:] == [epoch.learning_rate for epoch in long.epochs[2:]]


def test_before_the_first_checkpoint_any_length_will_do(made_up, tmp_path):
    """There are no steps that were taken by another."""
    path = tmp_path / "run"
    made_up["step"] = lambda step: (float("nan"), 1.0)
    with pytest.raises(UserError, match="no checkpoint was written yet"):
        train(path, schedule="linear")
    made_up["step"] = lambda step: (6.0, 1.0)
    results = train(path, schedule="linear", max_max_epoch=3)
    assert len(results.epochs) == 3 and not results.changes
    assert RunFolder(path).config().training.max_max_epoch == 3


# --- Other options -----------------------------------------------------------------


def test_options_of_later_steps_change_where_it_is_asked_for(
    made_up, monkeypatch, tmp_path
):
    path, later = tmp_path / "run", {"learning_rate": 0.25, "early_stopping": 7}
    steps = train_part(monkeypatch, path)
    before = snapshot(path)
    with pytest.raises(UserError, match="--change_options resumes it with these"):
        train(path, **later)
    assert snapshot(path) == before
    results = train(path, change_options=True, **later)
    assert [epoch.learning_rate for epoch in results.epochs] == [0.25, 0.25]
    assert results.changes == [
        Change(steps, "--learning_rate", 1.0, 0.25),
        Change(steps, "--early_stopping", 0, 7),
    ]
    assert RunFolder(path).config().training.learning_rate == 0.25
    assert "change_options" not in (path / "flags.txt").read_text()
    # What was asked for once is the run's own from then on.
    assert train(path, **later).changes == results.changes
    with pytest.raises(UserError, match=r"--learning_rate=0\.25 there, 1\.0 here"):
        train(path)


def test_a_change_is_kept_whenever_the_process_ends(made_up, monkeypatch, tmp_path):
    """Killed before flags.txt has it, and then before the next checkpoint."""
    path = tmp_path / "run"
    steps = train_part(monkeypatch, path)
    later = {"learning_rate": 0.25}
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "_write_options", None)
        with pytest.raises(TypeError):
            train(path, change_options=True, **later)
    assert RunFolder(path).config().training.learning_rate == 1.0
    change = Change(steps, "--learning_rate", 1.0, 0.25)
    assert last(path).metadata["changes"] == [change.to_json()]
    assert train_part(monkeypatch, path, 2, change_options=True, **later) > steps
    assert RunFolder(path).config().training.learning_rate == 0.25
    assert train(path, **later).changes == [change]


def test_a_change_of_flags_txt_by_hand_is_seen(made_up, monkeypatch, tmp_path):
    """One of later steps is recorded, one of the run as it is is refused."""
    path = tmp_path / "run"
    steps = train_part(monkeypatch, path)
    flags = path / "flags.txt"
    text = flags.read_text()
    flags.write_text(text.replace("--seed=1\n", "--seed=2\n"))
    before = snapshot(path)
    with pytest.raises(UserError, match=r"checkpoint any more: --seed 1 before, 2 now"):
        train(path, seed=2)
    assert snapshot(path) == before
    flags.write_text(text.replace("--keep_prob=1.0\n", "--keep_prob=0.5\n"))
    results = train(path, keep_prob=0.5)
    assert results.changes == [Change(steps, "--keep_prob", 1.0, 0.5)]


# --- Another machine ---------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch):
    """From now on, this is a machine with other threads."""

    def move(**values):
        there = provenance.rounding() | values
        monkeypatch.setattr(conditions, "rounding", lambda: there)

    return move


SAID = "The last bits will not be those of an uninterrupted run"


def test_another_machine_is_told_and_recorded(
    made_up, monkeypatch, tmp_path, elsewhere, capsys
):
    path = tmp_path / "run"
    elsewhere(threads=2)
    steps = [train_part(monkeypatch, path)]
    elsewhere(threads=1, TF_ENABLE_ONEDNN_OPTS="0")
    capsys.readouterr()
    steps.append(train_part(monkeypatch, path, 3))
    (line,) = [x for x in capsys.readouterr().out.splitlines() if SAID in x]
    assert line == (
        f"{SAID}: threads 2 before, 1 now, TF_ENABLE_ONEDNN_OPTS none before, 0 now"
    )
    results = train(path)  # on the second machine still
    assert SAID not in capsys.readouterr().out
    assert results.changes == [
        Change(steps[0], "threads", 2, 1),
        Change(steps[0], "TF_ENABLE_ONEDNN_OPTS", "", "0"),
    ]
    assert written(path)["changes"] == [c.to_json() for c in results.changes]


def test_steps_that_were_not_saved_leave_no_trace(
    made_up, monkeypatch, tmp_path, elsewhere
):
    path = tmp_path / "run"
    elsewhere(threads=2)
    train_part(monkeypatch, path)
    elsewhere(threads=1)
    made_up["step"] = lambda step: (float("nan"), 1.0)
    with pytest.raises(UserError, match="no longer finite"):
        train(path)
    made_up["step"] = lambda step: (6.0, 1.0)
    elsewhere(threads=2)
    assert train(path).changes == []


def test_strict_resume_refuses_another_machine(
    made_up, monkeypatch, tmp_path, elsewhere
):
    path = tmp_path / "run"
    elsewhere(threads=2)
    train_part(monkeypatch, path, strict_resume=True)
    before = snapshot(path)
    elsewhere(threads=1)
    with pytest.raises(UserError) as caught:
        train(path, strict_resume=True)
    assert str(caught.value) == (
        f"--strict_resume: {path} cannot go on to the bit here: threads 2 before, 1"
        " now; --nostrict_resume resumes it all the same"
    )
    assert snapshot(path) == before
    assert train(path, strict_resume=False).finished


def test_a_finished_run_may_be_looked_at_anywhere(made_up, tmp_path, elsewhere, capsys):
    results = train(tmp_path / "run", strict_resume=True)
    before = snapshot(tmp_path / "run")
    elsewhere(threads=99)
    capsys.readouterr()
    assert train(tmp_path / "run", strict_resume=True) == results
    assert snapshot(tmp_path / "run") == before
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Trained already, ")


def test_a_checkpoint_of_an_older_version_is_resumed_as_before(
    made_up, monkeypatch, tmp_path, elsewhere, capsys
):
    path = tmp_path / "run"
    train_part(monkeypatch, path)
    old = last(path)
    metadata = {n: old.metadata[n] for n in ("position", "corpus", "averaged")}
    RunFolder(path).checkpoints.save(metadata["position"]["step"], old.arrays, metadata)
    elsewhere(threads=99)
    capsys.readouterr()
    results = train(path, strict_resume=True)
    assert results.finished and results.changes == []
    assert SAID not in capsys.readouterr().out
    # Its options are those of flags.txt.
    RunFolder(path).checkpoints.save(
        99, last(path).arrays, last(path).metadata | {"options": {}}
    )
    assert len(train(path, max_max_epoch=3).changes) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"options": 3},
        {"rounding": []},
        {"changes": [{}]},
        {"changes": 3},
        {"rounding": {"threads": None}},
    ],
)
def test_metadata_of_something_else(made_up, monkeypatch, tmp_path, metadata):
    path = tmp_path / "run"
    train_part(monkeypatch, path)
    found = last(path)
    saved = RunFolder(path).checkpoints.save(
        99, found.arrays, found.metadata | metadata
    )
    with pytest.raises(UserError, match=re.escape(f"{saved}: not of this run")):
        train(path)
