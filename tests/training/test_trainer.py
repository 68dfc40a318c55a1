"""The loop around the training step: when it stops, and what it starts from.

The compiled step is replaced by figures made up here; test_arithmetic.py and
test_resume.py have the real one.
"""

import contextlib
import io
import json
import math
import os
import re
import shutil
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.runs.folder import RunFolder
from ptb_lm.system.interrupts import Interrupted, Interrupts
from ptb_lm.system.progress import Progress
from ptb_lm.training.step import TrainingProgram
from tests.support.files import snapshot
from tests.support.made_up import (
    WINDOWS,
    make_config,
    make_corpus,
    train,
)


def steps_of(path, kind):
    return RunFolder(path).checkpoints.load(kind).metadata["position"]["step"]


@pytest.mark.parametrize(
    "valid, patience, epochs, best",
    [
        ([5, 4, 3, 3.5, 3.2, 3.1, 1], 3, 6, 3),
        ([5, 4, 4, 4, 1], 2, 4, 2),  # as good is not better
        ([1, 2, 0.5], 1, 2, 1),
        ([5, 6, 4, 5, 3, 4, 2], 2, 7, 7),
        ([1, 2, 3, 4, 5, 6, 7], 0, 7, 1),  # 0: never
    ],
)
def test_early_stopping(made_up, tmp_path, valid, patience, epochs, best):
    made_up["valid"] = valid[:epochs]
    results = train(tmp_path / "run", early_stopping=patience, max_max_epoch=7)
    assert [e.valid_perplexity for e in results.epochs] == pytest.approx(
        [math.exp(v) for v in valid[:epochs]]
    )
    assert results.best_epoch == best and results.finished
    assert steps_of(tmp_path / "run", "best") == best * WINDOWS
    assert steps_of(tmp_path / "run", "last") == epochs * WINDOWS
    before = snapshot(tmp_path / "run")
    again = train(tmp_path / "run", early_stopping=patience, max_max_epoch=7)
    assert again == results and snapshot(tmp_path / "run") == before


@pytest.mark.parametrize(
    "valid, last, best",
    [
        ([1.0, 2.0, 3.0, 4.0], 3.0, 4.0),  # two epochs, then the last and the best
        ([2.0, 1.0, 3.0, 4.0], 3.0, 3.0),  # the last epoch is the best: scored once
    ],
)
def test_the_last_and_the_best_weights_are_scored(made_up, tmp_path, valid, last, best):
    made_up["valid"] = valid
    results = train(tmp_path / "run")
    assert results.last_weights.valid_perplexity == pytest.approx(math.exp(last))
    assert results.best_weights.valid_perplexity == pytest.approx(math.exp(best))
    assert RunFolder(tmp_path / "run").read_results() == results


@pytest.mark.parametrize("nats, norm", [(math.nan, 1.0), (6.0, math.inf)])
def test_not_finite(made_up, tmp_path, nats, norm):
    """At step 18 of 24: checkpoints of steps 12 and 15 stay, and nothing else."""
    made_up["step"] = lambda step: (nats, norm) if step == 17 else (6.0, 1.0)
    with pytest.raises(UserError) as caught:
        train(tmp_path / "run", learning_rate=2.0)
    message = str(caught.value)
    (good,) = (tmp_path / "run" / "checkpoints").glob("last-00000015-*")
    assert "no longer finite: step 18, learning rate 2, gradient norm" in message
    assert f"the last good checkpoint is {good};" in message and "\n" not in message
    assert steps_of(tmp_path / "run", "last") == 15
    assert steps_of(tmp_path / "run", "best") == 12


def test_not_finite_before_the_first_checkpoint(made_up, tmp_path):
    made_up["step"] = lambda step: (math.inf, 1.0)
    with pytest.raises(UserError, match=r"step 1, .*; no checkpoint was written"):
        train(tmp_path / "run")


def test_weights_that_are_not_finite_are_not_saved(made_up, tmp_path):
    """The step that spoils the weights has a finite loss itself."""

    def spoil(step):
        rate = math.inf if step == 9 else 0.0
        program[0].weights["softmax_kernel"].assign_add(tf.fill([4, 8], rate))
        return 6.0, 1.0

    program = []
    init = TrainingProgram.__init__

    def remember(self, *arguments):
        init(self, *arguments)
        program.append(self)

    made_up["step"] = spoil
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainingProgram, "__init__", remember)
        with pytest.raises(UserError, match=r"softmax_kernel is no longer finite: ste"):
            train(tmp_path / "run")
    assert steps_of(tmp_path / "run", "last") == 5


@pytest.mark.parametrize("valid", [math.nan, math.inf, 1e4])
def test_valid_perplexity_not_finite(made_up, tmp_path, valid):
    made_up["valid"] = [1.0, valid]
    with pytest.raises(UserError, match=r"the valid perplexity, \w+, is no longer"):
        train(tmp_path / "run")
    assert steps_of(tmp_path / "run", "last") == 20
    assert len(json.loads((tmp_path / "run/results.json").read_text())["epochs"]) == 1


class TestInitFrom:
    @pytest.fixture
    def source(self, made_up, tmp_path):
        """A run whose second epoch of three was the best."""
        made_up["valid"] = [2.0, 1.0, 3.0]
        train(tmp_path / "source", max_max_epoch=3)
        return tmp_path / "source"

    def test_takes_the_best_weights(self, source, tmp_path):
        train(tmp_path / "run", init_from=str(source), batch_size=1, save_every_steps=1)
        shutil.rmtree(source)  # not needed to go on
        train(tmp_path / "run", init_from=str(source), batch_size=1, save_every_steps=1)
        steps = steps_of(tmp_path / "run", "last")
        fresh = TrainingProgram(make_config(), 8).weights["softmax_bias"].numpy()
        found = RunFolder(tmp_path / "run").weights("last")["softmax_bias"]
        np.testing.assert_allclose(found, fresh + 2 * WINDOWS + steps, rtol=1e-6)

    def test_from_a_full_softmax_to_a_sampled_one_and_back(self, source, tmp_path):
        sampled, full = tmp_path / "sampled", tmp_path / "full"
        train(sampled, init_from=str(source), softmax="sampled")
        results = train(full, init_from=str(sampled))
        assert results.finished

    @pytest.mark.parametrize(
        "values, message",
        [
            ({"hidden_size": 5}, "--hidden_size=4 there, 5 here"),
            ({"softmax": "adaptive"}, "--softmax=full there, adaptive here"),
            ({"num_layers": 2}, "--num_layers=1 there, 2 here"),
            ({"tied": True}, "--tied=false there, true here"),
            ({"cell": "gru"}, "--cell=lstm there, gru here"),
            ({"init_from": "nowhere"}, "--init_from=nowhere: no run there"),
        ],
    )
    def test_refuses_another_shape(self, source, tmp_path, values, message):
        with pytest.raises(UserError, match=message) as caught:
            train(tmp_path / "run", **{"init_from": str(source)} | values)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()

    def test_refuses_another_vocabulary(self, source, tmp_path):
        with pytest.raises(UserError, match="another vocabulary"):
            train(tmp_path / "run", make_corpus(words="abcdefx"), init_from=str(source))
        assert not (tmp_path / "run").exists()

    def test_refuses_a_run_without_weights(self, source, tmp_path):
        shutil.rmtree(source / "checkpoints")
        with pytest.raises(UserError, match="no 'best' checkpoint yet"):
            train(tmp_path / "run", init_from=str(source))


class TestUnigramBias:
    """Where the bias starts; every made-up step adds 1 to it."""

    def train(self, path, **options):
        train(path, softmax_bias_init="unigram", save_every_steps=1, **options)

    def expected(self):
        ids = make_corpus().splits["train"]
        counts = np.array([1 + np.sum(ids == token) for token in range(8)])
        return np.log(counts / counts.sum())

    def bias(self, path):
        return RunFolder(path).weights("last")["softmax_bias"]

    def test_it_is_the_log_of_the_frequencies(self, made_up, tmp_path):
        self.train(tmp_path / "run")
        found = self.bias(tmp_path / "run") - 2 * WINDOWS
        np.testing.assert_allclose(found, self.expected(), atol=1e-5)

    def test_a_resumed_run_does_not_start_again(self, made_up, monkeypatch, tmp_path):
        with monkeypatch.context() as patched:
            interrupt_at(patched, 5)
            with pytest.raises(Interrupted):
                self.train(tmp_path / "run")
        assert 0 < steps_of(tmp_path / "run", "last") < 2 * WINDOWS
        self.train(tmp_path / "run")
        found = self.bias(tmp_path / "run") - 2 * WINDOWS
        np.testing.assert_allclose(found, self.expected(), atol=1e-5)

    def test_weights_of_another_run_keep_their_bias(self, made_up, tmp_path):
        train(tmp_path / "source")
        source = RunFolder(tmp_path / "source").weights("best")["softmax_bias"]
        self.train(tmp_path / "run", init_from=str(tmp_path / "source"))
        found = self.bias(tmp_path / "run") - 2 * WINDOWS
        np.testing.assert_allclose(found, source, rtol=1e-6)


def interrupt_at(monkeypatch, call, number=2):
    """A signal that is noticed at the call-th check."""
    calls = []

    def check(self):
        calls.append(None)
        if len(calls) == call:
            raise Interrupted(number)

    monkeypatch.setattr(Interrupts, "check", check)


def test_interrupted_anywhere(made_up, monkeypatch, tmp_path):
    """At every other check in turn: where it says it saved, there it goes on."""
    results = train(tmp_path / "whole")
    expected = RunFolder(tmp_path / "whole").weights("last")["softmax_bias"]
    for call in range(1, 100, 2):
        path = tmp_path / f"run{call}"
        with monkeypatch.context() as patched:
            interrupt_at(patched, call)
            try:
                train(path)
                break
            except Interrupted as interruption:
                saved = interruption.checkpoint
        assert (
            saved.is_file() and saved == RunFolder(path).checkpoints.load("last").path
        )
        again = train(path)
        assert [e.step for e in again.epochs] == [12, 24]
        assert again.finished and again.best_epoch == results.best_epoch
        found = RunFolder(path).weights("last")["softmax_bias"]
        np.testing.assert_array_equal(found, expected)
    assert 20 < call < 99


def test_the_time_of_a_call_that_was_stopped_tells_no_speed(
    made_up, monkeypatch, tmp_path
):
    """Ctrl-Z in epoch 2: its speed is that of the other calls, and nothing stops."""
    now = [1000.0]

    def step(number):
        now[0] += 0.25
        if number == WINDOWS + 5:
            now[0] += 3600.0
            os.kill(os.getpid(), signal.SIGCONT)
        return 6.0, 1.0

    made_up["step"] = step
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    results = train(tmp_path / "run")
    tokens = 6
    assert [e.tokens_per_second for e in results.epochs] == [4 * tokens, 4 * tokens]


class RecordedProgress(Progress):
    """Keeps the labels of what is shown, one for each phase or epoch."""

    def __init__(self):
        super().__init__(io.StringIO())
        self.labels = []

    @contextlib.contextmanager
    def phase(self, label):
        self.labels.append(label)
        yield lambda done, total: None

    def update(self, label, *_):
        if self.labels[-1] != label:
            self.labels.append(label)


def test_whatever_takes_long_is_shown(made_up, tmp_path):
    progress = RecordedProgress()
    made_up["valid"] = [1.0, 2.0]
    train(tmp_path / "run", progress=progress)
    assert progress.labels == [
        "Building the model",
        "Looking for a checkpoint",
        "Epoch 1/2, compiling",
        "Epoch 1/2",
        "Epoch 1/2, validating",
        "Epoch 1/2, writing for TensorBoard",
        "Epoch 1/2, saving",
        "Epoch 2/2",
        "Epoch 2/2, validating",
        "Epoch 2/2, writing for TensorBoard",
        "Epoch 2/2, saving",
        "Scoring the last weights, valid",
        "Scoring the last weights, valid exactly",
        "Scoring the last weights, test",
        "Scoring the best weights, valid",
        "Scoring the best weights, valid exactly",
        "Scoring the best weights, test",
        "Exporting the best weights",
    ]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("number", [2, 15])
def test_evaluate_on_interrupt(made_up, monkeypatch, tmp_path, capsys, asked, number):
    """Ctrl-C alone, and where it is asked for; what is saved is the same."""
    train(tmp_path / "whole")
    expected = RunFolder(tmp_path / "whole").weights("last")["softmax_bias"]
    capsys.readouterr()
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3, number)
        with pytest.raises(Interrupted) as caught:
            train(tmp_path / "run", evaluate_on_interrupt=asked)
    saved, scores = caught.value.checkpoint, caught.value.scores
    shown = f"Saved {saved}; scoring valid and test" in capsys.readouterr().out
    assert shown == (scores is not None) == (asked and number == 2)
    if scores:
        assert scores.test_perplexity == pytest.approx(math.e)
    assert saved == RunFolder(tmp_path / "run").checkpoints.load("last").path
    train(tmp_path / "run")
    found = RunFolder(tmp_path / "run").weights("last")["softmax_bias"]
    np.testing.assert_array_equal(found, expected)


def test_another_text_with_the_same_options(made_up, tmp_path):
    train(tmp_path / "run")
    before = snapshot(tmp_path / "run")
    with pytest.raises(UserError, match="a run on another text"):
        train(tmp_path / "run", make_corpus(seed=1))
    assert snapshot(tmp_path / "run") == before


@pytest.mark.parametrize(
    "change, message",
    [
        ({"position": None}, "not of this run"),
        ({"position": {"epoch": "x"}}, "epoch is 'x'"),
        ({"position": {"window": -1}}, "window is -1"),
        ({"position": {"epochs": 3}}, "epochs is 3"),
        ({"position": {"new": 3}}, "unexpected keyword argument 'new'"),
        ({"corpus": 3}, "a run on another text"),
    ],
)
def test_metadata_of_something_else(made_up, tmp_path, change, message):
    train(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    last = folder.checkpoints.load("last")
    folder.checkpoints.save(99, last.arrays, last.metadata | change)
    with pytest.raises(UserError, match=message) as caught:
        train(tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["shape", "missing", "surplus"])
def test_arrays_of_something_else(made_up, tmp_path, what):
    train(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    last = folder.checkpoints.load("last")
    arrays = dict(last.arrays)
    if what == "shape":
        arrays["model/embedding"] = arrays["model/embedding"][1:]
    elif what == "missing":
        del arrays["state/0/h"]
    else:
        arrays["model/lstm_9/bias"] = arrays["state/0/h"]
    path = folder.checkpoints.save(99, arrays, last.metadata)
    with pytest.raises(UserError, match=re.escape(f"{path}: not of this run: the ")):
        train(tmp_path / "run")


def test_a_run_folder_that_goes_away(made_up, tmp_path):
    """In mid-run: one line, and nothing is made in its place."""
    path = tmp_path / "run"

    def step(number):
        if number == 7:
            shutil.rmtree(path)
        return 6.0, 1.0

    made_up["step"] = step
    with pytest.raises(UserError, match="No such file or directory") as caught:
        train(path)
    assert "\n" not in str(caught.value) and not path.exists()


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"finished": false}'])
def test_results_are_written_anew(made_up, tmp_path, content):
    results = train(tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text(content)
    again = train(tmp_path / "run")
    assert again.last_weights == results.last_weights and again.finished
    written = (tmp_path / "run" / "results.json").read_text()
    assert json.loads(written) == again.to_json()


def test_fallback_to_the_checkpoint_before(made_up, tmp_path):
    """The newest is cut short after the run: it is found, and its steps repeated."""
    train(tmp_path / "run")
    expected = RunFolder(tmp_path / "run").weights("last")["softmax_bias"]
    (newest,) = (tmp_path / "run" / "checkpoints").glob("last-00000024-*")
    newest.write_bytes(newest.read_bytes()[:-10])
    with pytest.warns(UserWarning, match=re.escape(str(newest))):
        results = train(tmp_path / "run")
    assert [e.step for e in results.epochs] == [12, 24]
    found = RunFolder(tmp_path / "run").weights("last")["softmax_bias"]
    np.testing.assert_array_equal(found, expected)
