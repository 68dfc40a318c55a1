"""A disk that is full, read-only, not ours, or limited, at every stage of a run.

One line, an exit status that is not 0, the last good checkpoint as it was; and the
same command ends the run once there is room again. The compiled step is replaced by
figures made up here.
"""

import contextlib
import functools
import json
import os
import random
import subprocess

import pytest

from tests.support.archives import tgz, wanted
from tests.support.processes import Server, last_step, limit_file_size

pytestmark = pytest.mark.slow  # each trains in processes of its own

SAVE_EVERY = 4
NOBODY = 65534
LIMIT = 1000  # bytes: less than any file but the lock, more than what is printed


def make_up():
    """Steps that cost nothing, as in test_training."""
    import numpy as np

    from ptb_lm.evaluation.evaluator import Evaluator
    from ptb_lm.evaluation.metrics import Score
    from ptb_lm.system.progress import Progress
    from ptb_lm.training.step import TrainingProgram

    def train_steps(self, batches, step, rates):
        self.weights["softmax_bias"].assign_add(self.weights["softmax_bias"])
        return np.full(len(rates), 6.0), np.full(len(rates), 1.0)

    TrainingProgram.train_steps = train_steps
    Evaluator.tutorial = Evaluator.exact = lambda *_: Score(10.0, 10)
    Progress.update = lambda *_: None


def fill(disk):
    """Leaves not a byte."""
    with open(disk / "ballast", "ab", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass


def remount(disk, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def become_nobody(disk):
    os.seteuid(NOBODY)


FAILURES = {
    "full": (fill, "No space left on device"),
    "read-only": (functools.partial(remount, mode="ro"), "Read-only file system"),
    "not permitted": (become_nobody, "Permission denied"),
    "limited": (lambda disk: limit_file_size(LIMIT), "File too large"),
}


def fail(name, disk):
    FAILURES[name][0](disk)


# What a run is about to do when the disk fails, and the step it has saved by then.
STAGES = {
    "run folder": ("ptb_lm.system.files:make_folder", 1, 0),
    "lock": ("ptb_lm.runs.folder:_take_lock", 1, 0),
    "vocabulary": ("ptb_lm.data.vocabulary:Vocabulary.save", 1, 0),
    "flags": ("ptb_lm.system.files:write_text", 2, 0),
    "event files": ("ptb_lm.tensorboard.events:Events.__init__", 1, 0),
    "points": ("ptb_lm.tensorboard.events:Events.scalars", 5, 4),
    "first checkpoint": ("ptb_lm.runs.checkpoint:CheckpointFolder.save", 1, 0),
    "later checkpoint": ("ptb_lm.runs.checkpoint:CheckpointFolder.save", 4, 12),
    "results": ("ptb_lm.runs.folder:RunFolder.write_results", 1, 13),
    "last results": ("ptb_lm.runs.folder:RunFolder.write_results", 3, 26),
    "export": ("ptb_lm.inference.text_model:TextModel.save", 1, 26),
}
# Nothing is written anew where a file is open already; no remounting while one is.
NO_FAILURE = {
    ("limited", "run folder"),
    ("limited", "lock"),
    ("not permitted", "points"),
}
CASES = [
    (failure, stage)
    for failure in FAILURES
    for stage in STAGES
    if (failure, stage) not in NO_FAILURE
    and (failure != "read-only" or stage in ("run folder", "lock"))
]
IN_CI = {
    ("full", "event files"),
    ("full", "points"),
    ("full", "later checkpoint"),
    ("read-only", "run folder"),
    ("not permitted", "results"),
    ("limited", "flags"),
}


@pytest.fixture(scope="module")
def server():
    return Server()


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MB of its own, which its owner alone may write to."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a file system is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def corpus(tmp_path):
    """13 windows of 2 x 3 tokens; 80 words."""
    generator, folder = random.Random(0), tmp_path / "corpus"
    folder.mkdir()
    words = [f"longish-{index}" for index in range(79)]
    for split in ("train", "valid", "test"):
        generator.shuffle(words)
        (folder / f"{split}.txt").write_text(" ".join(words) + "\n")
    return folder


def arguments(corpus, run, *more):
    return [
        "--model=test",
        f"--data_path={corpus}",
        f"--save_path={run}",
        "--batch_size=2",
        "--num_steps=3",
        "--max_max_epoch=2",
        f"--save_every_steps={SAVE_EVERY}",
        "--log_every_steps=1",
        *more,
    ]


def run_with_failure(server, command, output, disk, failure, place, number):
    """Runs a command on a disk that fails; returns (status, what was printed)."""
    hooks = [
        ("before", "ptb_lm.training.trainer:train_and_evaluate", 1, make_up),
        ("before", place, number, functools.partial(fail, failure, disk)),
    ]
    status = server.run(command, output, *hooks, with_export=place.endswith("l.save"))
    text = output.read_text()
    output.unlink()
    assert "Traceback" not in text
    return status, text


def mend(disk):
    if not os.access(disk, os.W_OK):
        remount(disk, "rw")
    (disk / "ballast").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "failure, stage",
    [
        pytest.param(
            *case, marks=() if case in IN_CI else pytest.mark.long, id=" - ".join(case)
        )
        for case in CASES
    ],
)
def test_at_every_stage(server, corpus, disk, tmp_path, failure, stage):
    run, output = disk / "run", tmp_path / "output"
    place, number, saved = STAGES[stage]
    command = arguments(corpus, run)
    status, text = run_with_failure(
        server, command, output, disk, failure, place, number
    )
    assert status == 2, text
    lines = [line for line in text.splitlines() if line.startswith("run_ptb.py:")]
    assert len(lines) == 1 and FAILURES[failure][1] in lines[0], text
    assert last_step(run) == saved
    mend(disk)
    hook = "before", "ptb_lm.training.trainer:train_and_evaluate", 1, make_up
    assert server.run(command, output, hook) == 0, output.read_text()
    assert last_step(run) == 26
    assert json.loads((run / "results.json").read_text())["finished"]


# Who may not write to the cache could not read the corpus either, in these folders.
@pytest.mark.parametrize("failure", ["full", "read-only", "limited"])
def test_the_cache_of_a_corpus(server, corpus, disk, tmp_path, failure):
    """It is done without."""
    hook = functools.partial(fail, failure, disk)
    hook = "before", "ptb_lm.data.cache:_pending", 1, hook
    stop = (
        "before",
        "ptb_lm.training.trainer:train_and_evaluate",
        1,
        functools.partial(exit, 7),
    )
    command = arguments(corpus, tmp_path / "run", f"--cache_dir={disk}")
    output = tmp_path / "output"
    assert server.run(command, output, hook, stop) == 7, output.read_text()
    mend(disk)
    assert not list(disk.rglob("*.ids"))


@pytest.mark.parametrize("failure", FAILURES)
def test_the_cache_of_a_download(server, disk, tmp_path, failure):
    archive = tmp_path / "archive.tgz"
    archive.write_bytes(tgz(wanted()) + os.urandom(2 * LIMIT))
    command = ["--data_path=ptb", f"--ptb_url=file://{archive}"]
    command += [f"--cache_dir={disk}", f"--save_path={tmp_path}/run"]
    output, place = tmp_path / "output", "ptb_lm.data.download:fetch_ptb"
    status, text = run_with_failure(server, command, output, disk, failure, place, 1)
    assert status == 2
    assert f"cannot keep the corpus in the cache folder {disk}" in text
    assert FAILURES[failure][1] in text
    mend(disk)
    assert not list(disk.iterdir())
