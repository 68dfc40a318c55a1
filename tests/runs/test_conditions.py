"""What differs between the steps before a checkpoint and those after it, in words."""

import json

import pytest

from ptb_lm.config import Config
from ptb_lm.runs.conditions import Conditions, changed, in_words
from ptb_lm.runs.results import Change


def test_they_are_json():
    now = Conditions.of(Config.from_values({"learning_rate": 0.1, "tied": True}))
    again = Conditions.from_json(json.loads(json.dumps(now.to_json())))
    assert again == now
    assert not changed(again.options, now.options, 3)
    assert again.options["--learning_rate"] == 0.1 and again.rounding["threads"] >= 1


def test_they_are_those_of_the_run_alone():
    options = Conditions.of(Config()).options
    assert "--save_every_steps" not in options and "--mode" not in options
    assert "--init_from" not in options, "where the run began from"


def test_of_what_an_older_version_wrote_nothing_is_known():
    older = Conditions.from_json({"position": {}})
    assert older == Conditions({}, {})
    now = Conditions.of(Config())
    assert not changed(older.options, now.options, 3)
    assert not changed({"--new": 1}, {}, 3), "an option that is gone"


@pytest.mark.parametrize("name", ["options", "rounding"])
@pytest.mark.parametrize("value", [None, 3, [], "x"])
def test_metadata_of_something_else(name, value):
    with pytest.raises(TypeError):
        Conditions.from_json({name: value})


def test_changes_are_told_in_words():
    before = {"threads": 2, "switch": "", "--tied": False, "instructions": "avx avx2"}
    after = {"threads": 1, "switch": "0", "--tied": True, "instructions": "avx sve"}
    changes = changed(before, after, 3)
    assert changes[0] == Change(3, "threads", 2, 1)
    assert in_words(changes) == (
        "threads 2 before, 1 now, switch none before, 0 now, --tied false before, true"
        " now, instructions avx2 before, sve now"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"step": -1},
        {"step": "x"},
        {"name": 3},
        {"before": None},
        {"after": []},
    ],
)
def test_a_change_of_something_else(values):
    with pytest.raises(TypeError):
        Change.from_json({"step": 1, "name": "a", "before": 1, "after": 2} | values)
