"""What is added up over windows of any length, across the ends of epochs."""

import math

import numpy as np
import pytest

from ptb_lm.data.windows import (
    RandomLengthWindows,
    SequentialWindows,
    training_windows,
)
from ptb_lm.runs.position import Position
from ptb_lm.runs.results import EpochScores
from ptb_lm.training.accounting import Accounting, NotFinite
from ptb_lm.training.schedules import StepPosition
from tests.support.made_up import make_config

IDS = np.arange(2000, dtype=np.int32)
WINDOWS = {
    "fixed": SequentialWindows(IDS, 3, 9),
    "random": RandomLengthWindows(IDS, 3, 9, seed=4),
}


def tokens_of(windows, epoch, window):
    return windows.read(epoch, window)[1].size


def end_epoch(accounting):
    position = accounting.position
    accounting.end_epoch(
        EpochScores(position.epoch + 1, position.step, 1.0, 2.0, 3.0, 4.0)
    )


@pytest.mark.parametrize("kind", WINDOWS)
def test_perplexities_are_over_the_tokens_that_were_read(kind):
    """Intervals of 50 steps, of which some cross an end of an epoch; 2 nats a token."""
    windows = WINDOWS[kind]
    accounting, ends = Accounting(Position(), windows, 1.0), 0
    for epoch in range(3):
        for window in range(windows.count(epoch)):
            nats = 2.0 * tokens_of(windows, epoch, window)
            accounting.add_steps(np.array([nats]), np.array([3.0]), 0.5)
            if accounting.position.step % 50 == 0:
                interval = accounting.end_interval(1.0)
                assert interval.perplexity == pytest.approx(math.exp(2.0))
                ends += 1
        score = accounting.train_score()
        assert score.tokens == windows.tokens(epoch, windows.count(epoch))
        assert score.perplexity == pytest.approx(math.exp(2.0))
        seconds = 0.5 * windows.count(epoch)
        assert accounting.tokens_per_second() == pytest.approx(score.tokens / seconds)
        assert accounting.steps_per_second() == pytest.approx(2.0)
        end_epoch(accounting)
    assert ends >= 3


def test_an_interval_longer_than_epochs():
    windows = WINDOWS["random"]
    accounting, tokens = Accounting(Position(), windows, 1.0), 0
    for epoch in range(4):
        for window in range(windows.count(epoch) if epoch < 3 else 2):
            tokens += tokens_of(windows, epoch, window)
            accounting.add_steps(np.array([1.0]), np.array([3.0]), None)
        if epoch < 3:
            end_epoch(accounting)
    steps = accounting.position.step
    interval = accounting.end_interval(1.0)
    assert interval.perplexity == pytest.approx(math.exp(steps / tokens))


def test_positions_of_steps():
    """Of the next step and of the last, whatever the number of windows."""
    windows = WINDOWS["random"]
    counts = [windows.count(epoch) for epoch in range(3)]
    assert len(set(counts)) > 1
    accounting = Accounting(Position(), windows, 1.0)
    assert (
        accounting.last_step()
        == accounting.next_step()
        == StepPosition(0, 0, 0, counts[0])
    )
    previous = accounting.next_step()
    for epoch, count in enumerate(counts):
        for window in range(count):
            position = accounting.next_step()
            assert position == StepPosition(
                sum(counts[:epoch]) + window, epoch, window, count
            )
            assert accounting.last_step() == previous
            accounting.add_steps(np.array([1.0]), np.array([3.0]), None)
            assert accounting.last_step() == position
            previous = position
        end_epoch(accounting)


def test_a_loss_that_is_not_finite_is_told_by_token():
    accounting = Accounting(Position(), WINDOWS["random"], 1.0)
    with pytest.raises(NotFinite, match="the loss, inf nats a token,"):
        accounting.add_steps(np.array([math.inf]), np.array([1.0]), None)


def test_the_windows_of_a_configuration():
    kinds = {
        SequentialWindows: {},
        RandomLengthWindows: {"window_lengths": "random", "num_steps": 9},
    }
    for kind, options in kinds.items():
        training = make_config(**options).training
        assert type(training_windows(IDS, training)) is kind
