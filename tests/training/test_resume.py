"""A run that is killed and started again ends as one that never was, to the bit.

Runs are processes of their own, killed with SIGKILL. Most are forked from a
server that has TensorFlow imported and nothing run, which saves seconds each.
"""

import concurrent.futures
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.runs.checkpoint import CheckpointFolder
from ptb_lm.runs.folder import RunFolder
from tests.support.events import event_files, read_points
from tests.support.files import snapshot
from tests.support.processes import (
    SAVE_EVERY,
    Server,
    arguments,
    last_step,
    limit_file_size,
)

pytestmark = pytest.mark.slow  # each starts processes, and most a reference

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What differs from run to run: times, and how often it was resumed.
NOT_REPEATED = ("timed_tokens", "timed_seconds", "wall_seconds", "resumed")
EPOCH_TIMES = ("tokens_per_second", "wall_seconds")

SETTINGS = {
    # As small, with dropout.
    "sgd": [
        "--num_layers=2",
        "--keep_prob=0.7",
        "--sample_tokens=5",
        "--histograms_every_steps=10",
    ],
    "adam": ["--optimizer=adam", "--learning_rate=0.01", "--keep_prob=0.8"],
    "gru": ["--cell=gru", "--windows=random", "--keep_prob=0.8"],
    "characters": ["--token_type=char", "--num_steps=7", "--keep_prob=0.8"],
    "regularized": [
        "--cell=mogrifier",
        "--mogrifier_rank=3",
        "--num_layers=2",
        "--layer_sizes=8,6",
        "--tied",
        "--softmax_bias_init=unigram",
        "--dropout=sequence",
        "--keep_prob=0.8",
        "--keep_prob_between=0.7",
        "--keep_prob_embedding=0.9",
        "--keep_prob_recurrent=0.6",
    ],
    "shuffled": ["--shuffle_sentences", "--window_lengths=random", "--num_steps=7"],
    "tied_adam": ["--tied", "--optimizer=adam", "--learning_rate=0.01"],
    "adamw_cosine_ema": [
        "--optimizer=adamw",
        "--weight_decay=0.1",
        "--learning_rate=0.01",
        "--schedule=cosine",
        "--warmup=0.1",
        "--average=ema",
        "--average_decay=0.9",
        "--sample_tokens=5",
    ],
    "nt_asgd_plateau": [
        "--learning_rate=2",
        "--l2=0.0001",
        "--schedule=plateau",
        "--average=nt_asgd",
        "--nonmonotone=1",
        "--max_max_epoch=6",
    ],
    "random_lengths_ar_tar": [
        "--window_lengths=random",
        "--num_steps=6",
        "--max_max_epoch=4",
        "--loss_scale=mean",
        "--learning_rate=5",
        "--ar=2",
        "--tar=1",
        "--dropout=sequence",
        "--keep_prob=0.7",
        "--histograms_every_steps=10",
    ],
}
# Of these, those that have more to remember than weights and slots.
METHODS = ["adamw_cosine_ema", "nt_asgd_plateau", "random_lengths_ar_tar"]


def die(delay=0.0):
    """Kills this process, now or some seconds later."""
    if delay:
        threading.Timer(delay, die).start()
    else:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="session")
def server():
    return Server()


class References:
    """Uninterrupted runs, each made when it is first asked for."""

    def __init__(self, server, corpus, folder):
        self._server, self._corpus, self._folder = server, corpus, folder
        self._lock = threading.Lock()
        self._made = set()

    def __call__(self, setting):
        path = self._folder / setting
        with self._lock:
            if setting not in self._made:
                command = arguments(self._corpus, path, *SETTINGS[setting])
                assert self._server.run(command, f"{path}.out") == 0
                self._made.add(setting)
        return path


@pytest.fixture(scope="session")
def reference(server, corpus, tmp_path_factory):
    return References(server, corpus, tmp_path_factory.mktemp("reference"))


def repeatable(results):
    """results.json without what differs from run to run."""
    epochs = [
        {n: v for n, v in epoch.items() if n not in EPOCH_TIMES}
        for epoch in results["epochs"]
    ]
    names = ("finished", "best_epoch", "last_weights", "best_weights", "parameters")
    return {name: results[name] for name in names} | {"epochs": epochs}


def assert_same_arrays(run, expected, kind):
    """Of the newest checkpoints of a kind, which are returned."""
    ours, theirs = (
        CheckpointFolder(path / "checkpoints").load(kind) for path in (run, expected)
    )
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in theirs.arrays.items():
        assert ours.arrays[name].tobytes() == array.tobytes(), name
    return ours, theirs


def assert_same_state(run, expected, kind):
    ours, theirs = assert_same_arrays(run, expected, kind)
    for checkpoint in (ours, theirs):
        position = checkpoint.metadata["position"]
        for name in NOT_REPEATED:
            del position[name]
        for epoch in position["epochs"]:
            for name in EPOCH_TIMES:
                del epoch[name]
    assert ours.metadata == theirs.metadata


def assert_same_run(run, expected):
    """Weights, state, scores and curves of two finished runs are the same."""
    assert_same_state(run, expected, "last")
    assert_same_state(run, expected, "best")
    ours, theirs = (
        repeatable(json.loads((path / "results.json").read_text()))
        for path in (run, expected)
    )
    assert ours == theirs
    ours, theirs = (read_points(path) for path in (run, expected))
    speed = ".", "step/tokens_per_second"
    steps = [[step for step, _ in points.pop(speed)] for points in (ours, theirs)]
    assert steps[0] == steps[1]
    assert ours == theirs
    leftovers = [path.name for path in run.rglob("*") if "pending" in path.name]
    assert not leftovers


def assert_little_lost(output):
    """No process had to take more than the save interval again."""
    reached = 0
    for line in pathlib.Path(f"{output}.steps").read_text().splitlines():
        word, step = line.split()
        if word == "start":
            assert reached - SAVE_EVERY <= int(step) <= reached
        reached = int(step)


def kill_in_a_step(generator):
    """Some milliseconds after one of a process's first calls of the loop."""
    delay = generator.uniform(0.0005, 0.03)
    place = "ptb_lm.training.trainer:Trainer._call"
    return "before", place, generator.randint(2, 5), functools.partial(die, delay)


def run_with_kills(server, command, run, kills, with_export=False):
    """Starts a run again and again, each time to be killed; then to the end."""
    output = run.with_suffix(".out")
    killed = 0
    for kill in kills:
        status = server.run(command, output, kill, with_export=with_export)
        if status == 0:
            break
        text = output.read_text()
        assert status == -signal.SIGKILL, text
        killed += 1
        last_step(run)  # readable at any moment
        assert_exports_are_whole(run)
    status = server.run(command, output, with_export=with_export)
    assert status == 0, output.read_text()
    assert_little_lost(output)
    return killed


def assert_exports_are_whole(run):
    """What a reader finds is all there, and has the best weights."""
    saved = run / "saved_model"
    if saved.exists():
        assert (saved / "saved_model.pb").stat().st_size > 0
        reader = tf.train.load_checkpoint(str(saved / "variables" / "variables"))
        ours = [
            reader.get_tensor(name).tobytes()
            for name in reader.get_variable_to_shape_map()
            if name.startswith("_weights")
        ]
        best = RunFolder(run).weights("best").values()
        assert sorted(ours) == sorted(array.tobytes() for array in best)
    if (run / "model.keras").exists():
        assert zipfile.ZipFile(run / "model.keras").testzip() is None


# Each in the middle of something, in the order in which a run comes to it.
PLACED_KILLS = [
    ("before", "os:fsync", 4, die),  # vocabulary, flags; then the first checkpoint
    ("after", "os:replace", 3, die),  # it has its name, the folder is not synced
    ("before", "ptb_lm.evaluation.evaluator:Evaluator.tutorial", 1, die),
    ("before", "ptb_lm.runs.checkpoint:CheckpointFolder.save", 1, die),  # events out
    ("after", "ptb_lm.runs.checkpoint:_link_or_copy", 1, die),  # best there, last not
    (
        "after",
        "ptb_lm.evaluation.evaluator:Evaluator.exact",
        1,
        die,
    ),  # the final scores
]
# Places that every process comes to before its run's last step, and how often.
EARLY_PLACES = [
    ("ptb_lm.runs.checkpoint:CheckpointFolder.save", 1),
    ("ptb_lm.runs.checkpoint:_digest", 2),
    ("ptb_lm.system.files:write_atomically", 1),
    ("ptb_lm.system.files:sync_folder", 2),
    ("os:fsync", 2),
    ("os:replace", 2),
    ("ptb_lm.tensorboard.events:Events.flush", 1),
    ("ptb_lm.tensorboard.events:Events.scalars", 2),
    ("ptb_lm.tensorboard.events:drop_events_after", 2),
    ("ptb_lm.tensorboard.curves:Curves.after_epoch", 1),
    ("ptb_lm.evaluation.evaluator:Evaluator.tutorial", 1),
]
# Those after its last step.
LATE_PLACES = [
    ("ptb_lm.evaluation.evaluator:Evaluator.exact", 2),
    ("ptb_lm.inference.text_model:TextModel.save", 1),
    ("ptb_lm.export.exporter:_sync", 1),
    ("ptb_lm.system.files:replace_folder", 1),
]


def kill_at_a_place(generator, places):
    place, most = generator.choice(places)
    delay = generator.choice([0.0, generator.uniform(0.0005, 0.02)])
    side, number = generator.choice(["before", "after"]), generator.randint(1, most)
    return side, place, number, functools.partial(die, delay)


def test_killed_at_the_worst_moments(server, corpus, reference, tmp_path):
    """SGD with dropout."""
    run = tmp_path / "run"
    command = arguments(corpus, run, *SETTINGS["sgd"])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        expected = pool.submit(reference, "sgd")
        assert run_with_kills(server, command, run, PLACED_KILLS) == len(PLACED_KILLS)
        assert_same_run(run, expected.result())
    results = json.loads((run / "results.json").read_text())
    assert 1 <= results["resumed"] <= len(PLACED_KILLS) + 1


@pytest.mark.parametrize("setting", ["tied_adam", "regularized", "shuffled", *METHODS])
def test_killed_at_random_moments(server, corpus, reference, tmp_path, setting):
    """The moments are always the same ones."""
    run, generator = tmp_path / "run", random.Random(5)
    kills = [kill_in_a_step(generator) for _ in range(2)]
    command = arguments(corpus, run, *SETTINGS[setting])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        expected = pool.submit(reference, setting)
        assert run_with_kills(server, command, run, kills) == 2, kills
        assert_same_run(run, expected.result())


def test_what_is_resumed_is_not_nothing(reference):
    """Means are there and are the best weights; rates fall; epochs differ in steps."""
    asgd = RunFolder(reference("nt_asgd_plateau"))
    last = asgd.checkpoints.load("last")
    epochs = asgd.read_results().epochs
    assert last.metadata["averaged"]
    assert 0 < last.arrays["average/start"] < epochs[-1].step
    assert epochs[-1].learning_rate < epochs[0].learning_rate
    ema = RunFolder(reference("adamw_cosine_ema"))
    best = ema.checkpoints.load("best").arrays
    for name, weights in ema.weights("best").items():
        assert weights.tobytes() == best[f"average/{name}"].tobytes(), name
        assert weights.tobytes() != best[f"model/{name}"].tobytes(), name
    lengths = RunFolder(reference("random_lengths_ar_tar")).read_results().epochs
    ends = [0, *(epoch.step for epoch in lengths)]
    assert len(set(np.diff(ends))) > 1


def test_killed_while_exporting(server, corpus, reference, tmp_path):
    """With the new export still aside, and with it in the place of an old one."""
    run = tmp_path / "run"
    shutil.copytree(reference("sgd"), run)
    shutil.copy(f"{reference('sgd')}.out.steps", run.with_suffix(".out.steps"))
    command = arguments(corpus, run, *SETTINGS["sgd"])
    for place in (
        ("before", "ptb_lm.export.exporter:_sync"),
        ("after", "ptb_lm.system.files:_exchange"),
    ):
        (run / "results.json").unlink()
        kills = [(*place, 1, die)]
        assert run_with_kills(server, command, run, kills, with_export=True) == 1
        assert_exports_are_whole(run)
        assert (run / "model.keras").exists()
    assert_same_run(run, reference("sgd"))


@pytest.mark.long
@pytest.mark.parametrize("setting", ["sgd", "adam", "characters", "gru", *METHODS])
def test_a_hundred_kills(server, corpus, reference, tmp_path, setting):
    """At least 34 in each setting, at random moments and places."""
    generator, killed, runs = random.Random(setting), 0, 0
    expected = reference(setting)
    while killed < 34:
        runs += 1
        run = tmp_path / f"run{runs}"
        kills = [
            kill_in_a_step(generator)
            if generator.random() < 0.4
            else kill_at_a_place(generator, EARLY_PLACES)
            for _ in range(8)
        ]
        kills += [kill_at_a_place(generator, LATE_PLACES) for _ in range(4)]
        command = arguments(corpus, run, *SETTINGS[setting])
        killed += run_with_kills(server, command, run, kills, with_export=True)
        assert_same_run(run, expected)
        assert_exports_are_whole(run)
        print(f"{setting}: {killed} kills in {runs} runs", flush=True)


def start(command, **kwargs):
    """run_ptb.py itself, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "run_ptb.py", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def wait_for(path, pattern, process):
    """Waits until a file that matches the pattern is there."""
    while not list(path.glob(pattern)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_interrupts_save_and_say_where(corpus, server, tmp_path):
    """SIGINT, then SIGTERM, each in mid-epoch; then to the end."""
    long = [*SETTINGS["sgd"], "--num_steps=1", "--max_max_epoch=12", "--tied"]
    run, reached, saved = tmp_path / "run", 0, None
    long += ["--evaluate_on_interrupt"]  # for Ctrl-C alone
    command = arguments(corpus, run, *long, "--save_every_steps=500")
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = start(command)
        process.stdout.readline()  # the corpus
        seen = process.stdout.readline()
        if reached:
            assert seen.startswith(f"Resumed {saved} at epoch")
            seen = process.stdout.readline()
        assert seen.startswith("Epoch")
        process.send_signal(number)
        output, error = process.communicate()
        assert process.returncode == status, error
        assert "Traceback" not in error
        assert ("weights of now" in output) == (number == signal.SIGINT)
        assert f"Stopped by {signal.Signals(number).name}; saved {run}" in output
        (saved,) = [
            path
            for path in (run / "checkpoints").glob("last-*")
            if f"saved {path}" in output
        ]
        assert last_step(run) > reached
        reached = last_step(run)
    once = tmp_path / "once"
    assert server.run(command, tmp_path / "run.out") == 0
    assert server.run(arguments(corpus, once, *long), tmp_path / "once.out") == 0
    for kind in ("last", "best"):
        assert_same_state(run, once, kind)


def test_flags_repeat_a_run(server, reference, tmp_path):
    """--flagfile=RUN/flags.txt gives the same weights."""
    first, run = reference("sgd"), tmp_path / "again"
    command = [f"--flagfile={first}/flags.txt", f"--save_path={run}"]
    assert server.run(command, tmp_path / "out") == 0, (tmp_path / "out").read_text()
    assert_same_run(run, first)
    assert (run / "flags.txt").read_bytes() == (first / "flags.txt").read_bytes()


def test_a_finished_run_trains_no_more(server, corpus, reference, tmp_path):
    run = reference("sgd")
    before, output = snapshot(run), tmp_path / "out"
    assert server.run(arguments(corpus, run, *SETTINGS["sgd"]), output) == 0
    assert snapshot(run) == before
    assert "last weights" in output.read_text()
    assert "done" not in pathlib.Path(f"{output}.steps").read_text()


def test_a_longer_run_is_as_it_would_have_been(server, corpus, reference, tmp_path):
    """One of two epochs that is given a third; with dropout, and in its curves."""
    run, whole, out = tmp_path / "run", tmp_path / "whole", tmp_path / "out"
    options = [*SETTINGS["sgd"], "--max_max_epoch=3"]
    assert server.run(arguments(corpus, whole, *options), out) == 0, out.read_text()
    shutil.copytree(reference("sgd"), run)
    command = [f"--save_path={run}", "--max_max_epoch=3"]
    assert server.run(command, out) == 0, out.read_text()
    for kind in ("last", "best"):
        assert_same_arrays(run, whole, kind)
    ours, theirs = (
        repeatable(json.loads((path / "results.json").read_text()))
        for path in (run, whole)
    )
    assert ours == theirs
    ours, theirs = (read_points(path) for path in (run, whole))
    for points in (ours, theirs):
        del points[".", "step/tokens_per_second"]
    assert ours == theirs
    assert ours[".", "_hparams_/session_end_info"] == [(3,)]


def test_a_run_with_changed_options_is_resumed_to_the_bit(server, corpus, tmp_path):
    """Changed in mid-epoch; one is killed around the change and after it."""
    options = ["--keep_prob=0.8", "--max_max_epoch=4"]
    stopped, once, run = (tmp_path / name for name in ("stopped", "once", "run"))
    kill = "after", "ptb_lm.training.trainer:Trainer._save", 2, die
    command = arguments(corpus, stopped, *options)
    assert server.run(command, tmp_path / "stopped.out", kill) == -signal.SIGKILL
    for path in (once, run):
        shutil.copytree(stopped, path)
    later = ["--change_options", "--learning_rate=0.3", "--keep_prob=0.5"]
    out = tmp_path / "out"
    assert server.run([f"--save_path={once}", *later], out) == 0, out.read_text()
    save, place = "ptb_lm.runs.checkpoint:CheckpointFolder.save", "ptb_lm.runs.folder:"
    for moment in (
        ("after", save, 1, die),
        ("before", f"{place}RunFolder._write_options", 1, die),
    ):
        status = server.run([f"--save_path={run}", *later], out, moment)
        assert status == -signal.SIGKILL, out.read_text()
    kill = "after", save, 2, die
    assert server.run([f"--save_path={run}", *later], out, kill) == -signal.SIGKILL
    assert server.run([f"--save_path={run}"], out) == 0, out.read_text()
    for kind in ("last", "best"):
        assert_same_arrays(run, once, kind)
    ours, theirs = (RunFolder(path).read_results().changes for path in (run, once))
    assert ours == theirs
    assert [change.name for change in ours] == ["--keep_prob", "--learning_rate"]
    assert last_step(stopped) == ours[0].step


def test_a_full_disk(server, corpus, tmp_path):
    """No file may grow beyond a limit: of a checkpoint, then of the events."""
    run, output = tmp_path / "run", tmp_path / "run.out"
    # Of a setting without histograms, which are larger than a checkpoint.
    command = arguments(corpus, run, *SETTINGS["adam"])
    kill = "after", "ptb_lm.training.trainer:Trainer._save", 2, die
    assert server.run(command, output, kill) == -signal.SIGKILL
    good = snapshot(run / "checkpoints")
    size = max(len(content) for content in good.values())
    for limit, more, what in (
        (size - 100, [], "pending.npz: cannot write: File too large"),
        (1500, ["--log_every_steps=1"], "cannot read or write events"),
    ):
        output.unlink()
        # Not before the first call: to trace it, TensorFlow writes files in /tmp.
        action = functools.partial(limit_file_size, limit)
        hook = "after", "ptb_lm.training.trainer:Trainer._call", 1, action
        status = server.run([*command, *more], output, hook)
        text = output.read_text()
        assert status == 2, text
        lines = [line for line in text.splitlines() if "run_ptb.py:" in line]
        assert len(lines) == 1 and what in lines[0], text
        assert "Traceback" not in text
        assert snapshot(run / "checkpoints") == good
        assert last_step(run) == 2 * SAVE_EVERY


def test_event_files_are_there(reference):
    """What `assert_same_run` compares is not nothing."""
    run = reference("sgd")
    points = read_points(run)
    assert len(event_files(run)) == 3
    assert [step for step, _ in points[".", "epoch/samples"]] == [1, 2]
    assert [step for step, *_ in points[".", "weights/embedding/gradient"]] == [
        *range(10, last_step(run), 10)
    ]
    steps = [step for step, _ in points[".", "step/gradient_norm"]]
    assert steps == list(range(3, last_step(reference("sgd")) + 1, 3))
    assert [step for step, _ in points["valid", "epoch/perplexity"]] == [1, 2]
    assert np.isfinite([v for _, v in points[".", "step/perplexity"]]).all()
