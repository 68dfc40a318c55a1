"""The part of a checkpoint that is JSON: read back as it was, and checked."""

import dataclasses
import json

import pytest

from ptb_lm.runs.position import Position
from ptb_lm.runs.results import EpochScores
from tests.support.results import EPOCHS

POSITION = Position(
    step=27,
    epoch=2,
    window=3,
    epoch_nats=12.5,
    interval_nats=4.25,
    interval_steps=1,
    interval_clipped=1,
    timed_tokens=60,
    timed_seconds=0.5,
    wall_seconds=4.75,
    resumed=1,
    epochs=EPOCHS,
)
# As version 0.1 wrote it: dictionaries in the history.
OLD = (
    '{"step": 27, "epoch": 2, "window": 3, "epoch_nats": 12.5,'
    ' "interval_nats": 4.25, "interval_steps": 1, "interval_clipped": 1,'
    ' "timed_tokens": 60, "timed_seconds": 0.5, "wall_seconds": 4.75,'
    ' "resumed": 1, "epochs": ['
    '{"epoch": 1, "step": 12, "learning_rate": 1.0, "train_perplexity": 30.0,'
    ' "valid_perplexity": 25.0, "tokens_per_second": 100.0, "wall_seconds": 2.0},'
    ' {"epoch": 2, "step": 24, "learning_rate": 0.5, "train_perplexity": 20.0,'
    ' "valid_perplexity": 26.0, "tokens_per_second": 110.0, "wall_seconds": 4.0}]}'
)


def test_the_json_of_older_versions_both_ways():
    assert json.dumps(POSITION.to_json()) == OLD
    assert Position.from_json(json.loads(OLD)) == POSITION


def test_a_new_run():
    assert Position.from_json({}) == Position() == Position.from_json({"epochs": []})
    assert Position().best() is None


def test_the_best_epoch_is_the_first_of_the_lowest():
    perplexities = [5.0, 3.0, 4.0, 3.0]
    epochs = [
        dataclasses.replace(EPOCHS[0], epoch=number, valid_perplexity=perplexity)
        for number, perplexity in enumerate(perplexities, start=1)
    ]
    assert Position(epoch=4, epochs=epochs).best() is epochs[1]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step": -1}, "step is -1"),
        ({"step": 2.0}, r"step is 2\.0"),
        ({"step": True}, "step is True"),
        ({"step": 2**63}, f"step is {2**63}"),
        ({"epoch_nats": float("nan")}, "epoch_nats is nan"),
        ({"epoch_nats": 3}, "epoch_nats is 3"),
        ({"epoch": 1}, "epochs are not those before epoch 2"),
        ({"epochs": 3}, "epochs is 3"),
        ({"epochs": [3, 4]}, "not iterable"),
        ({"epochs": [{}, {}]}, "missing 6 required"),
        ({"epochs": [EPOCHS[1].to_json()] * 2}, "epochs are not those before epoch 3"),
        ({"news": 3}, "unexpected keyword argument 'news'"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    values = json.loads(OLD) | change
    with pytest.raises((TypeError, ValueError, LookupError), match=message):
        Position.from_json(values)


@pytest.mark.parametrize("values", [None, [], "text", 3, [[1, 2]]])
def test_what_is_no_object_is_refused(values):
    with pytest.raises(TypeError, match="the position is"):
        Position.from_json(values)


@pytest.mark.parametrize(
    "name, value",
    [
        ("epoch", 1.0),
        ("step", 2.5),
        ("valid_perplexity", float("inf")),
        ("train_perplexity", -1.0),
        ("tokens_per_second", "fast"),
        ("learning_rate", None),
        ("wall_seconds", float("nan")),
    ],
)
def test_figures_of_an_epoch_are_checked(name, value):
    with pytest.raises(TypeError, match=f"{name} is "):
        EpochScores.from_json(EPOCHS[0].to_json() | {name: value})
