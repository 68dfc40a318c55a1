"""What is said of a long training once its first steps are timed."""

import pytest

from ptb_lm.data.windows import training_windows
from ptb_lm.runs.position import Position
from ptb_lm.training.outlook import Outlook
from tests.support.events import scores_of
from tests.support.made_up import make_config, make_corpus

TOKENS = 2 * 3  # of a window


def told(position, tokens, seconds, **options):
    """What is said after each of some steps, all of the same speed."""
    config, corpus = make_config(**options), make_corpus()
    windows = training_windows(corpus.splits["train"], config.training)
    outlook = Outlook(config, corpus, windows)
    return [outlook.after_steps(position, tokens, seconds) for _ in range(5)]


def after(epochs, window):
    return Position(
        epoch=epochs, window=window, epochs=[*map(scores_of, range(1, epochs + 1))]
    )


def test_it_is_told_once_when_the_speed_is_known():
    """After 3 steps: 2 s for each of 39 * 12 - 3, 8.2 s to score, 39 + 6 times."""
    lines = told(after(0, 3), TOKENS, 2.0, max_max_epoch=39)
    assert lines == ["", "", "39 epochs, about 22 min on this machine", "", ""]


@pytest.mark.parametrize(
    "position, options, line",
    [
        (
            after(0, 1),
            {"max_max_epoch": 500},
            "500 epochs, about 4.5 h on this machine",
        ),
        (
            after(0, 1),
            {"max_max_epoch": 39, "early_stopping": 5},
            "at most 39 epochs, about 22 min on this machine",
        ),
        (
            after(9, 1),
            {"max_max_epoch": 39},
            "30 of 39 epochs left, about 17 min on this machine",
        ),
        (after(0, 1), {"max_max_epoch": 10}, ""),  # is over before long
    ],
)
def test_what_is_told(position, options, line):
    assert told(position, TOKENS, 2.0, **options)[2] == line


def test_an_epoch_of_random_lengths_stands_for_the_others():
    options = {"window_lengths": "random", "num_steps": 6, "max_max_epoch": 100}
    (line,) = filter(None, told(after(0, 0), 50, 25.0, **options))
    assert line.startswith("100 epochs, about ")
