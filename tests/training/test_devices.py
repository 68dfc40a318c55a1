"""Several devices give what one gives: logical CPUs, and workers on loopback.

Each training is a process of its own, because TensorFlow's devices cannot change once
it has computed anything.
"""

import functools
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest

from ptb_lm.runs.checkpoint import CheckpointFolder
from tests.support.events import read_points
from tests.support.processes import (
    Server,
    among_workers,
    arguments,
    free_addresses,
    last_step,
    signal_itself,
)

pytestmark = pytest.mark.slow

# Dropout of every kind but that of weights, which has no rows; 104 steps.
OPTIONS = (
    "--max_max_epoch=4",
    "--log_every_steps=1",
    "--keep_prob=0.7",
    "--keep_prob_embedding=0.9",
    "--learning_rate=0.5",
)
CALL = "ptb_lm.training.trainer:Trainer._call"
LOST, SECONDS = 75, 60.0
# Of `test_killed_workers`, which is marked long; more by this variable.
KILLS = int(os.environ.get("PTB_LM_TEST_KILLS", "4"))


@pytest.fixture(scope="module")
def server():
    return Server()


@pytest.fixture(scope="module")
def train(server, corpus, tmp_path_factory):
    """Trains in a new folder, or in a given one; returns the folder."""

    def train(*more, path=None, hooks=(), status=0):
        path = path or tmp_path_factory.mktemp("devices") / "run"
        output = path.with_suffix(".out")
        command = arguments(corpus, path, *OPTIONS, *more)
        found = server.run(command, output, *hooks)
        assert found == status, output.read_text()
        return path

    return train


@pytest.fixture(scope="module")
def one(train):
    """The run of one device."""
    return train()


@pytest.fixture(scope="module")
def two(train):
    """The same of two."""
    return train("--devices=2")


def told(output):
    """The lines of a file but TensorFlow's own.

    run_ptb.py holds these back, unless TensorFlow was imported before, as here.
    """
    return [
        line for line in output.read_text().splitlines() if not line.startswith("E0000")
    ]


def losses(run):
    """Nats a token of every step."""
    points = read_points(run)[".", "step/perplexity"]
    return np.log([value for _, value in points])


def arrays(run):
    """All that the last checkpoint holds."""
    return CheckpointFolder(run / "checkpoints").load("last").arrays


def assert_alike(run, other):
    """Two runs differ by rounding only."""
    assert len(losses(run)) == 104
    np.testing.assert_allclose(losses(run), losses(other), rtol=1e-5)
    found, expected = arrays(run), arrays(other)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=2e-5, err_msg=name)


def assert_same_bits(run, other):
    """Two runs differ in nothing."""
    np.testing.assert_array_equal(losses(run), losses(other))
    found, expected = arrays(run), arrays(other)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_two_devices_are_as_one(one, two):
    assert_alike(two, one)
    assert (
        "2 devices share each batch, 3 rows each" in two.with_suffix(".out").read_text()
    )


def test_two_runs_of_one_command_have_the_same_bits(two, train):
    assert_same_bits(train("--devices=2"), two)


def test_what_else_a_step_has(train):
    """Windows of random length, dense gradients, averages, penalties, histograms."""
    options = (
        "--window_lengths=random",
        "--num_steps=6",
        "--optimizer=adamw",
        "--learning_rate=0.01",
        "--weight_decay=0.01",
        "--average=ema",
        "--ar=1",
        "--keep_prob_recurrent=0.8",
        "--softmax_bias_init=unigram",
        "--histograms_every_steps=10",
        "--sample_tokens=3",
    )
    found, expected = train(*options, "--devices=2"), train(*options)
    np.testing.assert_allclose(losses(found), losses(expected), rtol=1e-5)
    for name, array in arrays(expected).items():
        np.testing.assert_allclose(arrays(found)[name], array, atol=1e-4, err_msg=name)


def test_a_run_goes_on_with_other_devices(one, train):
    """1, 2, 1: in the middle of epochs, where the carried state is not zero."""
    stop = functools.partial(signal_itself, signal.SIGTERM)
    hooks = [("before", CALL, 9, stop)]
    path, status = None, 128 + signal.SIGTERM
    for number in (1, 2):
        path = train(f"--devices={number}", path=path, hooks=hooks, status=status)
        state = [a for n, a in arrays(path).items() if n.startswith("state/")]
        assert all(a.shape == (6, 8) and a.any(axis=1).all() for a in state)
    train("--devices=1", path=path)
    said = path.with_suffix(".out").read_text()
    assert "uninterrupted run: devices 1 before, 2 now" in said
    assert "uninterrupted run: devices 2 before, 1 now" in said
    assert_alike(path, one)


def test_a_strict_resume_refuses_other_devices(one, train):
    path = train("--devices=2", hooks=[("before", CALL, 3, _stop())], status=143)
    train("--devices=1", "--strict_resume", path=path, status=2)
    assert "devices 2 before, 1 now" in path.with_suffix(".out").read_text()


def test_an_uneven_batch_is_refused(train):
    path = train("--devices=4", status=2)
    (_, line) = told(path.with_suffix(".out"))
    assert line == (
        "run_ptb.py: --batch_size=6: 4 devices cannot share these rows evenly; give a"
        " multiple of 4"
    )
    assert not path.exists()


def test_a_gpu_that_is_not_there_is_refused(train):
    path = train("--devices=gpu", status=2)
    assert "finds no GPU on this machine" in path.with_suffix(".out").read_text()


# --- Several workers --------------------------------------------------------------


def _stop(number=signal.SIGTERM, delay=0.0):
    return functools.partial(signal_itself, number, delay)


class Pair:
    """Two workers on loopback, with a folder each; only the chief's has a run."""

    def __init__(self, server, corpus, path):
        self.server, self.corpus, self.path = server, corpus, path
        self.run = path / "run"
        self.status, self.said, self.ended = [], [], []

    def train(self, *more, hooks=((), ()), of_worker=(), corpus=None):
        """Trains; what the two said and returned is in `said` and `status`."""
        addresses = free_addresses(2)
        processes, outputs = [], []
        for index in range(2):
            run = self.run if index == 0 else self.path / "elsewhere"
            outputs.append(self.path / f"{index}.out")
            outputs[-1].unlink(missing_ok=True)
            text = corpus if corpus and index else self.corpus
            command = arguments(text, run, *OPTIONS, *more)
            command += of_worker if index else ()
            hook = among_workers(index, addresses)
            processes.append(
                self.server.start(command, outputs[-1], hook, *hooks[index])
            )
        self.ended = [0.0, 0.0]
        while any(process.is_alive() for process in processes):
            for index, process in enumerate(processes):
                if not self.ended[index] and not process.is_alive():
                    self.ended[index] = time.monotonic()
            time.sleep(0.02)
        self.ended = [end or time.monotonic() for end in self.ended]
        self.status = [process.exitcode for process in processes]
        self.said = ["\n".join(told(output)) for output in outputs]
        assert not (self.path / "elsewhere").exists(), "a worker has no folder"
        return self


@pytest.fixture
def pair(server, corpus, tmp_path):
    return Pair(server, corpus, tmp_path)


def test_two_workers_are_as_one_device(one, pair):
    pair.train()
    assert pair.status == [0, 0], pair.said
    assert pair.said[1] == ""
    assert_alike(pair.run, one)


def test_a_signal_to_one_worker_stops_both_at_one_step(one, pair):
    """And the same command goes on; the worker has the chief's checkpoint."""
    pair.train(hooks=((), [("before", CALL, 9, _stop())]))
    assert pair.status == [143, 143], pair.said
    assert "Stopped by SIGTERM; saved" in pair.said[0]
    assert 0 < last_step(pair.run) < 104
    pair.train()
    assert pair.status == [0, 0], pair.said
    assert "Resumed" in pair.said[0]
    assert_alike(pair.run, one)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--hidden_size=9"], "differs: --hidden_size 9 there, 8 with the chief"),
        (["--batch_size=12"], "differs: --batch_size 12 there, 6 with the chief"),
    ],
)
def test_a_worker_with_other_options_is_refused(pair, options, expected):
    pair.train(of_worker=options)
    assert pair.status == [2, 2]
    for line in (pair.said[0].splitlines()[-1], *pair.said[1].splitlines()):
        assert expected in line
    assert len(pair.said[1].splitlines()) == 1
    assert not pair.run.exists()


def test_a_worker_with_another_text_is_refused(pair, tmp_path):
    from tests.support.files import write_random_corpus

    pair.train(corpus=write_random_corpus(tmp_path / "other", seed=1))
    assert pair.status == [2, 2]
    assert "differs: the text " in pair.said[1]
    assert len(pair.said[1].splitlines()) == 1
    assert not pair.run.exists()


def assert_lost(pair, killed):
    """One was killed; the other has ended with one line, and soon."""
    other = 1 - killed
    assert pair.status[killed] == -signal.SIGKILL
    assert pair.status[other] == LOST, pair.said
    lines = [line for line in pair.said[other].splitlines() if "run_ptb.py: " in line]
    assert len(lines) == 1, pair.said[other]
    assert "has ended; the same command goes on" in lines[0]
    assert "Traceback" not in pair.said[other]
    seconds = pair.ended[other] - pair.ended[killed]
    assert seconds < SECONDS
    return seconds


@pytest.mark.long
def test_killed_workers(one, pair):
    """Chief or worker, at random moments; then the run is as one never killed."""
    generator, seconds = random.Random(5), []
    while len(seconds) < KILLS:
        killed = len(seconds) % 2
        kill = _stop(signal.SIGKILL, generator.uniform(0.0, 0.5))
        hooks = [(), ()]
        hooks[killed] = [("before", CALL, generator.randint(1, 12), kill)]
        pair.train(hooks=hooks)
        if pair.status == [0, 0]:  # the run ended first; once more from its beginning
            assert_alike(pair.run, one)
            shutil.rmtree(pair.run)
            continue
        seconds.append(assert_lost(pair, killed))
    pair.train()
    assert pair.status == [0, 0], pair.said
    print(f"{len(seconds)} kills; the other ended after at most {max(seconds):.1f} s")
    assert_alike(pair.run, one)
