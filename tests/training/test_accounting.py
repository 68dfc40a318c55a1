"""Sums of nats, speed and time, by step, interval and epoch."""

import math

import numpy as np
import pytest

from ptb_lm.data.windows import SequentialWindows
from ptb_lm.runs.position import Position
from ptb_lm.training import accounting
from ptb_lm.training.accounting import (
    Accounting,
    NotFinite,
    check_finite,
    check_finite_arrays,
)
from tests.support.events import scores_of


def accounting_of(position=None, windows=20):
    """Of steps of 10 tokens, some an epoch, whose gradients are clipped at norm 5."""
    ids = np.zeros(2 * (5 * windows + 1), np.int32)
    of_epochs = SequentialWindows(ids, batch_size=2, num_steps=5)
    return Accounting(position or Position(), of_epochs, max_grad_norm=5.0)


def add(accounts, nats, norms, seconds=None):
    accounts.add_steps(np.array(nats), np.array(norms), seconds)


def test_intervals_are_added_up_each_for_itself():
    accounts = accounting_of()
    add(accounts, [10.0, 20.0], [4.0, 6.0])
    add(accounts, [30.0], [5.0])
    first = accounts.end_interval(rate=0.5)
    assert first.step == 3 and first.learning_rate == 0.5
    assert first.perplexity == pytest.approx(math.exp(60 / 30))
    assert first.gradient_norm == 5.0
    assert first.clipped_share == pytest.approx(1 / 3)
    add(accounts, [5.0], [9.0])
    second = accounts.end_interval(rate=0.25)
    assert (second.step, second.clipped_share) == (4, 1.0)
    assert second.perplexity == pytest.approx(math.exp(5 / 10))
    score = accounts.train_score()
    assert (score.nats, score.tokens) == (65.0, 40)


def test_speed_is_that_of_the_calls_that_are_timed():
    accounts = accounting_of()
    assert accounts.tokens_per_second() == accounts.steps_per_second() == 0.0
    add(accounts, [10.0], [1.0])
    assert accounts.progress_facts() == "perplexity 2.72"
    add(accounts, [10.0] * 4, [1.0] * 4, seconds=0.5)
    add(accounts, [10.0] * 2, [1.0] * 2, seconds=1.0)
    assert accounts.tokens_per_second() == 40.0
    assert accounts.steps_per_second() == 4.0
    assert accounts.progress_facts() == "perplexity 2.72  40 tokens/s"


def test_an_epoch_ends_and_the_interval_goes_on():
    accounts = accounting_of(windows=2)
    add(accounts, [10.0, 20.0], [1.0, 9.0], seconds=0.5)
    accounts.end_epoch(scores_of(1, step=2))
    position = accounts.position
    assert (position.step, position.epoch, position.window) == (2, 1, 0)
    assert position.epochs == [scores_of(1, step=2)]
    assert accounts.tokens_per_second() == position.epoch_nats == 0.0
    add(accounts, [30.0], [1.0])
    interval = accounts.end_interval(rate=1.0)
    assert interval.perplexity == pytest.approx(math.exp(60 / 30))
    assert interval.clipped_share == pytest.approx(1 / 3)
    assert accounts.train_score().nats == 30.0


def test_the_clock_goes_on_where_the_last_process_stopped(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(accounting.time, "monotonic", lambda: now[0])
    accounts = accounting_of(Position(wall_seconds=7.0))
    now[0] += 2.5
    assert accounts.wall_seconds() == 9.5
    assert accounts.wall_seconds() == 9.5
    now[0] += 0.5
    assert accounts.wall_seconds() == accounts.position.wall_seconds == 10.0


@pytest.mark.parametrize("nats, norm", [(math.nan, 1.0), (7.0, math.inf)])
def test_a_step_that_is_not_finite_is_the_last(nats, norm):
    accounts = accounting_of()
    with pytest.raises(NotFinite, match=r"^the loss, (nan|0\.7) nats a token,$"):
        add(accounts, [1.0, nats, 1.0], [2.0, norm, 3.0])
    assert accounts.position.step == 2 and accounts.last_norm == norm
    assert accounts.position.epoch_nats == 1.0


def test_what_must_be_finite_is_named():
    check_finite({"valid_perplexity": 1e300})
    with pytest.raises(NotFinite, match=r"^the valid perplexity, inf,$"):
        check_finite({"train_perplexity": 1.0, "valid_perplexity": math.inf})
    check_finite_arrays({"a": np.ones(3)})
    with pytest.raises(NotFinite, match=r"^model/b$"):
        check_finite_arrays({"a": np.ones(3), "model/b": np.array([[1.0, math.nan]])})
