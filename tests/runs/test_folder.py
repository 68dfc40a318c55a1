"""The run folder: one process, one configuration, one corpus."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.provenance import provenance, rounding
from ptb_lm.runs.trained_run import TrainedRun
from tests.support.files import snapshot
from tests.support.results import RESULTS

ROOT = Path(__file__).resolve().parents[2]
WORDS = Vocabulary(["the", "<eos>", "café"])
CONFIG = Config.from_values({"hidden_size": 7, "data_path": "my corpus", "tied": True})

HOLD = """
import pathlib, sys, time
from ptb_lm.config import Config
from ptb_lm.runs.folder import RunFolder
from ptb_lm.data.vocabulary import Vocabulary
folder = RunFolder(pathlib.Path(sys.argv[1]))
config = Config.from_values({"hidden_size": 7, "data_path": "my corpus", "tied": True})
folder.open_for_training(config, Vocabulary(["the", "<eos>", "café"]))
print("held", flush=True)
time.sleep(600)
"""


def open_run(path, config=CONFIG, vocabulary=WORDS):
    folder = RunFolder(path)
    folder.open_for_training(config, vocabulary)
    return folder


@pytest.fixture
def run(tmp_path):
    """A run that was started and closed."""
    open_run(tmp_path / "run").close()
    return tmp_path / "run"


@pytest.fixture
def holder(run):
    """Another process that trains there."""
    command = [sys.executable, "-c", HOLD, str(run)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_is_in_it(run):
    assert sorted(p.name for p in run.iterdir()) == [
        "flags.txt",
        "run.lock",
        "vocabulary.json",
    ]
    folder = RunFolder(run)
    assert folder.config().run_values() == CONFIG.run_values()
    assert folder.vocabulary() == WORDS


def test_a_second_process_is_told_of_the_first(run, holder):
    before = snapshot(run)
    with pytest.raises(UserError, match=rf"process {holder.pid} on .* is training"):
        open_run(run)
    assert snapshot(run) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_nothing(run, holder, number):
    holder.send_signal(number)
    holder.wait()
    open_run(run).close()


def test_a_closed_run_is_as_it_was(run):
    before = snapshot(run)
    folder = open_run(run)
    assert str(os.getpid()) in (run / "run.lock").read_text()
    folder.close()
    folder.close()
    assert snapshot(run) == before
    open_run(run).close()


def test_other_options_are_listed(run):
    before = snapshot(run)
    other = Config.from_values({"hidden_size": 8, "data_path": "my corpus"})
    with pytest.raises(UserError) as caught:
        open_run(run, other)
    message = str(caught.value)
    assert "--hidden_size=7 there, 8 here" in message
    assert "--tied=true there, false here" in message
    assert message.count(" there, ") == 2 and "\n" not in message
    assert snapshot(run) == before


def test_options_that_do_not_make_the_run_may_change(run):
    changed = CONFIG.values() | {"save_every_steps": 3, "log_every_steps": 1}
    open_run(run, Config.from_values(changed)).close()


def test_another_vocabulary(run):
    before = snapshot(run)
    with pytest.raises(UserError, match="another vocabulary"):
        open_run(run, vocabulary=Vocabulary(["the", "<eos>"]))
    assert snapshot(run) == before


def test_flags_are_a_flagfile(run):
    import run_ptb

    parsed = run_ptb.parse([f"--flagfile={run}/flags.txt"])
    assert parsed.run_values() == CONFIG.run_values()


@pytest.mark.parametrize("name", ["flags.txt", "vocabulary.json", "results.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[[[", b"[" * 10**5, b"3", b"null", b'{"a": 1}', b"--no=1"],
)
def test_damaged_small_files(run, name, content):
    """One line each, or what does no harm; never a traceback."""
    (run / name).write_bytes(content)
    try:
        if name == "results.json":
            RunFolder(run).read_results()
            raise AssertionError("taken for results")
        else:
            open_run(run)
            raise AssertionError("taken for whole")
    except UserError as error:
        assert "\n" not in str(error) and str(run) in str(error)


def test_nothing_there(tmp_path):
    folder = RunFolder(tmp_path / "absent")
    for call in (folder.config, folder.vocabulary, folder.read_results):
        with pytest.raises(UserError, match="absent"):
            call()
    with pytest.raises(UserError, match="no 'best' checkpoint yet"):
        folder.weights("best")
    assert not (tmp_path / "absent").exists()


def test_without_an_epoch_there_are_last_weights_alone(run):
    """The advice can be followed; the folder is named once."""
    folder = RunFolder(run)
    with pytest.raises(UserError) as caught:
        folder.weights("last")
    assert str(caught.value) == f"{run}: no 'last' checkpoint yet; train first"
    folder.checkpoints.save(1, {"model/embedding": np.ones(3, np.float32)}, {})
    assert list(folder.weights("last")) == ["embedding"]
    for read in (folder.weights, lambda kind: TrainedRun(run, kind).model()):
        with pytest.raises(UserError) as caught:
            read("best")
        assert str(caught.value) == (
            f"{run}: no 'best' checkpoint yet: no epoch has ended; --weights=last takes"
            " the newest weights"
        )


@pytest.mark.parametrize("name", ["checkpoints", "plugins", "valid", "run.lock"])
@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_a_link_in_the_folder_is_refused(run, tmp_path, name, target):
    """The lock does not guard where it leads; reading through it is no harm."""
    there = tmp_path / "there"
    there.mkdir()
    (run / "run.lock").unlink()
    (run / name).symlink_to(tmp_path / target)
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=rf"run/{name} is a link") as caught:
        open_run(run)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before and not list(there.iterdir())
    assert RunFolder(run).config().model.hidden_size == 7


def test_the_whole_folder_may_be_a_link(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    folder = open_run(tmp_path / "link")
    with pytest.raises(UserError, match="is training there"):
        open_run(run)
    folder.close()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot create the folder"):
            open_run(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_lock_that_cannot_be_opened(tmp_path):
    (tmp_path / "run" / "run.lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"run\.lock: cannot write: Is a directory"):
        open_run(tmp_path / "run")


def test_weights_are_the_models_alone(run):
    folder = RunFolder(run)
    arrays = {
        "model/lstm_0/bias": np.ones(3, np.float32),
        "optimizer/lstm_0/bias/m": np.ones(3, np.float32),
        "state/0/h": np.ones(3, np.float32),
    }
    (run / "checkpoints").mkdir()
    folder.checkpoints.save(1, arrays, {}, best=True)
    assert list(folder.weights("best")) == ["lstm_0/bias"]


@pytest.mark.parametrize("metadata", [{}, {"averaged": False}, {"averaged": True}])
def test_weights_are_those_that_were_scored(run, metadata):
    folder = RunFolder(run)
    arrays = {
        "model/embedding": np.ones(3, np.float32),
        "average/embedding": np.full(3, 2, np.float32),
        "average/start": np.int64(5),
    }
    (run / "checkpoints").mkdir()
    folder.checkpoints.save(1, arrays, metadata, best=True)
    found = folder.weights("best")
    assert list(found) == ["embedding"]
    assert found["embedding"][0] == (2 if metadata.get("averaged") else 1)


def test_results_are_json(run):
    folder = RunFolder(run)
    folder.write_results(RESULTS)
    assert json.loads((run / "results.json").read_text()) == RESULTS.to_json()
    assert folder.read_results() == RESULTS


def test_what_rounding_depends_on():
    found = rounding()
    assert found["threads"] >= 1 and found["tensorflow"] == tf.__version__
    assert all(type(value) in (int, str) for value in found.values())
    json.dumps(found)


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("TF_NUM_INTRAOP_THREADS", "3", {"threads": 3}),
        ("TF_ENABLE_ONEDNN_OPTS", "0", {"TF_ENABLE_ONEDNN_OPTS": "0"}),
        ("ONEDNN_MAX_CPU_ISA", "AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    ],
)
def test_what_changes_the_rounding(monkeypatch, name, value, expected):
    before = rounding.__wrapped__()
    monkeypatch.setenv(name, value)
    changed = dict(rounding.__wrapped__().items() - before.items())
    assert changed == expected


def test_threads_are_the_cores_that_the_process_may_use():
    """As under `taskset -c 0`, or in a container of one core."""
    core = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{core}])\n"
        "from ptb_lm.runs.provenance import rounding; print(rounding()['threads'])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert found.stdout == "1\n", found.stderr


@pytest.mark.parametrize(
    "texts",
    [
        3,
        "test",
        {"test": 3},
        {"test": {}},
        {"test": {"tokens": 9.5, "unknown_share": 0.1, "digest": "a"}},
        {"test": {"tokens": 9, "unknown_share": -0.1, "digest": "a"}},
        {"test": {"tokens": 9, "unknown_share": 0.1, "digest": None}},
    ],
)
def test_damaged_records_of_texts(run, texts):
    values = RESULTS.to_json() | {"texts": texts}
    (run / "results.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"results.json: not a run's results: "):
        RunFolder(run).read_results()


@pytest.mark.parametrize(
    "name, value",
    [
        ("model", 5),
        ("corpus", ["a"]),
        ("vocabulary_size", 8.5),
        ("parameters", -1),
        ("seed", "1"),
        ("finished", "yes"),
        ("tokens_per_second", None),
        ("best_epoch", 1.0),
        ("wall_seconds", math.nan),
        ("resumed", True),
        ("floor_perplexity", "9.8"),
        ("training_flop", math.inf),
    ],
)
def test_damaged_numbers_and_names(run, name, value):
    content = RESULTS.to_json() | {name: value}
    (run / "results.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"not a run's results: {name} is "):
        RunFolder(run).read_results()


def test_results_of_an_older_version_know_nothing_of_texts(run):
    values = RESULTS.to_json()
    del values["texts"]
    (run / "results.json").write_text(json.dumps(values))
    assert RunFolder(run).read_results().texts == {}


def test_provenance():
    found = provenance()
    assert found["versions"]["numpy"] == np.__version__
    assert found["machine"]["cores"] >= 1
    json.dumps(found, allow_nan=False)
