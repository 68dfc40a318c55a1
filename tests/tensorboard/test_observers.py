"""What each observer of a run asks for and writes, and how a board joins them."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.tensorboard.board import Board, check_options, open_board
from ptb_lm.tensorboard.curves import Curves
from ptb_lm.tensorboard.histograms import Histograms
from ptb_lm.tensorboard.observer import Interval, Observer
from ptb_lm.tensorboard.profile import Profile, profiled_steps
from ptb_lm.training.step import TrainingProgram
from tests.support.events import RecordedEvents, read_points, scores_of
from tests.support.made_up import make_config, make_corpus


def test_an_observer_does_nothing_by_itself():
    observer = Observer()
    assert observer.steps_to_next(3) is None
    for call in (
        lambda: observer.after_steps(3),
        lambda: observer.after_interval(None),
        lambda: observer.after_epoch(scores_of(1)),
        lambda: observer.after_training(1),
        observer.flush,
        observer.close,
    ):
        assert call() is None


def test_curves():
    events = RecordedEvents()
    curves = Curves(events, floor_perplexity=1.5, epochs=[scores_of(1)])
    curves.after_interval(Interval(30, 9.0, 0.5, 4.0, 0.25, 1000.0))
    curves.after_epoch(scores_of(2, 40))
    steps = {
        "step/perplexity": 9.0,
        "step/learning_rate": 0.5,
        "step/gradient_norm": 4.0,
        "step/clipped_share": 0.25,
        "step/tokens_per_second": 1000.0,
    }
    assert events.written == [
        ("scalars", "train", 30, steps),
        ("scalars", "train", 2, {"epoch/perplexity": 5.0}),
        ("scalars", "valid", 2, {"epoch/perplexity": 10.0}),
        ("scalars", "valid", 40, {"step/perplexity": 10.0}),
        ("scalars", ".", 2, {"summary/best_valid_perplexity": 10.0}),
        ("scalars", "floor", 2, {"epoch/perplexity": 1.5}),
    ]


def test_histograms_at_intervals():
    events, asked = RecordedEvents(), []
    weights = {"a": tf.Variable([1.0, 2.0])}

    def gradients():
        asked.append(None)
        return {} if len(asked) == 2 else {"a": tf.constant([3.0])}

    histograms = Histograms(events, 5, weights, gradients)
    assert [histograms.steps_to_next(step) for step in (0, 4, 5, 7)] == [5, 1, 5, 3]
    for step in (4, 5, 7, 10):
        histograms.after_steps(step)
    assert len(asked) == 2
    ((_, part, step, values), (*_, at_the_end)) = events.written
    assert (part, step) == ("train", 5) and list(at_the_end) == ["weights/a"]
    np.testing.assert_array_equal(values["weights/a"], [1.0, 2.0])
    np.testing.assert_array_equal(values["weights/a/gradient"], [3.0])


@pytest.fixture
def profiler(monkeypatch):
    """What TensorFlow's profiler is asked for; no profile is made."""
    calls = []

    class Trace:
        def __init__(self, name, step_num, _r):
            self._call = f"step {step_num}"

        def __enter__(self):
            calls.append(f"begin {self._call}")

        def __exit__(self, *_):
            calls.append(f"end {self._call}")

    module = tf.profiler.experimental
    monkeypatch.setattr(module, "start", lambda *_: calls.append("start"))
    monkeypatch.setattr(module, "stop", lambda: calls.append("stop"))
    monkeypatch.setattr(module, "Trace", Trace)
    return calls


MARKED = [
    "start", "begin step 3", "end step 3", "begin step 4", "end step 4", "stop"
]  # fmt: skip


@pytest.mark.parametrize(
    "first_step, asked, calls", [(0, [2, 3, 4], MARKED), (3, [4], []), (4, [], [])]
)
def test_a_profile_is_of_single_marked_steps(
    profiler, tmp_path, first_step, asked, calls
):
    """Of a process that begins at a step: what is over is not begun again."""
    profile, step, steps_asked = Profile((2, 4), tmp_path, first_step), first_step, []
    while (steps := profile.steps_to_next(step)) is not None:
        step += steps
        steps_asked.append(step)
        profile.after_steps(step)
    profile.after_steps(step + 1)
    profile.close()
    assert profiled_steps("3,4") == (2, 4)
    assert steps_asked == asked
    assert profiler == calls


def test_a_profile_that_is_open_is_written(profiler, tmp_path):
    Profile(profiled_steps("1,9"), tmp_path, 0).close()
    assert profiler == ["start", "begin step 1", "end step 1", "stop"]


@pytest.mark.parametrize("option", ["1", "0,3", "5,4", "a,b", "1,2,3", "1,", "-1,3"])
def test_profile_steps_are_checked(option):
    config = make_config(profile_steps=option)
    with pytest.raises(UserError, match="must be FIRST,LAST, two steps counted from 1"):
        check_options(config, make_corpus())


class Noted(Observer):
    """Notes what it is told; asks for a call after so many steps."""

    def __init__(self, name, notes, every=None):
        self._name, self._notes, self._every = name, notes, every

    def steps_to_next(self, step):
        return self._every and self._every - step % self._every

    def _note(self, *what):
        self._notes.append((self._name, *what))

    def after_steps(self, step):
        self._note("steps", step)

    def after_interval(self, interval):
        self._note("interval", interval)

    def after_epoch(self, scores):
        self._note("epoch", scores)

    def after_training(self, epochs):
        self._note("training", epochs)

    def flush(self):
        self._note("flush")

    def close(self):
        self._note("close")


def test_a_board_passes_all_on():
    events, notes = RecordedEvents(), []
    observers = [Noted("a", notes), Noted("b", notes, 7), Noted("c", notes, 5)]
    board = Board(events, observers)
    assert [board.steps_to_next(step) for step in (0, 5, 8)] == [5, 2, 2]
    assert Board(events, observers[:1]).steps_to_next(3) is None
    calls = {
        "steps": lambda: board.after_steps(4),
        "interval": lambda: board.after_interval("points"),
        "epoch": lambda: board.after_epoch("scores"),
        "training": lambda: board.after_training(2),
        "flush": board.flush,
        "close": board.close,
    }
    for word, call in calls.items():
        call()
        assert [note[:2] for note in notes] == [(name, word) for name in "abc"]
        assert len({note[2:] for note in notes}) == 1
        notes.clear()
    assert events.written == [("flush",), ("close",)], "files last, once each"


@pytest.mark.parametrize("floor", [None, 1.5])
def test_a_board_of_all_that_can_be_asked_for(tmp_path, floor):
    options = {"sample_tokens": 2, "histograms_every_steps": 3}
    config, corpus = make_config(**options), make_corpus()
    corpus = type(corpus)(**vars(corpus) | {"floor_perplexity": floor})
    program = TrainingProgram(config, 8)
    run = tmp_path / "run"
    board = open_board(config, corpus, run, 0, [], program.model, lambda: {})
    assert board.steps_to_next(4) == 2
    board.after_steps(3)
    board.after_epoch(scores_of(1))
    board.after_training(1)
    board.close()
    points = read_points(run)
    tags = {tag for part, tag in points if part == "." and "_hparams_" not in tag}
    assert tags == {
        "epoch/perplexity",
        "epoch/samples",
        "summary/best_valid_perplexity",
        *(f"weights/{name}" for name in program.weights),
    }
    assert (("floor", "epoch/perplexity") in points) == (floor is not None)
    assert [point[0] for point in points[".", "epoch/samples"]] == [1]
    names = {tag.split("/")[1] for _, tag in points if tag.startswith("_hparams_")}
    assert names == {"experiment", "session_start_info", "session_end_info"}


def test_a_board_of_the_curves_alone(tmp_path):
    config = make_config(sample_tokens=0)
    model = TrainingProgram(config, 8).model
    board = open_board(config, make_corpus(), tmp_path, 0, [], model, dict)
    assert board.steps_to_next(0) is None
    board.close()
    assert Config().tensorboard.sample_tokens > 0
