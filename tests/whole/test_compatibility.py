"""Runs and exports of an older revision: read, gone on with, the same numbers.

The data and the expected numbers are in tests/compatibility; its README says how
they were made. Only the command line and public files are used here.
"""

import html
import json
import re
import shutil
import tarfile

import numpy as np
import pytest

import run_ptb
from ptb_lm.tensorboard.curves import BEST_VALID, TEST
from tests.compatibility import make_data
from tests.support.events import read_points

DATA = make_data.HERE
CORPUS = DATA / "corpus"
EXPECTED = json.loads((DATA / "numbers.json").read_text())
SPEED = "train", "step/tokens_per_second"


def is_same_machine():
    """Whether rounding is that of the data: same processor, threads, TensorFlow."""
    return make_data.machine() == EXPECTED["machine"]


def assert_close(found, expected):
    """Texts, names and counts are the same; numbers agree to 1e-5; more may be told."""
    if isinstance(expected, dict):
        assert found.keys() >= expected.keys()
        for name, value in expected.items():
            assert_close(found[name], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours, theirs)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert found == expected


def arrays(run, kind):
    """Variables and slots of a run's newest checkpoint of a kind."""
    path = max((run / "checkpoints").glob(f"{kind}-*.npz"))
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files if name != "metadata"}


def scores(run):
    """Perplexities of each epoch and of the end, and what else repeats."""
    results = json.loads((run / "results.json").read_text())
    names = ("finished", "best_epoch", "resumed", "last_weights", "best_weights")
    epochs = [
        {
            n: v
            for n, v in epoch.items()
            if n not in ("tokens_per_second", "wall_seconds")
        }
        for epoch in results["epochs"]
    ]
    return {name: results[name] for name in names} | {"epochs": epochs}


def words(markup):
    """The words of a text for TensorBoard, without what sets its parts apart."""
    return re.sub(r"</?(pre|strong)>|---", " ", html.unescape(markup.decode())).split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Copies of the finished runs, the SavedModel unpacked."""
    folder = tmp_path_factory.mktemp("compatibility") / "finished"
    shutil.copytree(DATA / "finished", folder)
    packed = folder / "sgd" / "saved_model.tar.xz"
    with tarfile.open(packed) as archive:
        archive.extractall(packed.parent, filter="data")
    packed.unlink()
    return folder


def write_later_points(run, finished):
    """Brings a run's curves to its end; its checkpoint stays where it was."""
    others = shutil.ignore_patterns("checkpoints", "*.json", "*.txt")
    shutil.copytree(finished, run, ignore=others, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """Resumes a copy of a stopped run, once, and gives its folder."""
    folder = tmp_path_factory.mktemp("resumed")

    def resume(setting):
        run = folder / setting
        if not run.exists():
            shutil.copytree(DATA / "stopped" / setting, run)
            if setting == "adam":  # with points of steps that are taken anew
                write_later_points(run, DATA / "finished" / setting)
            flags = f"--flagfile={run / 'flags.txt'}"
            places = [f"--data_path={CORPUS}", f"--save_path={run}"]
            assert run_ptb.main([flags, *places]) == 0
        return run

    return resume


SETTINGS = [  # one of them is enough for a quick look
    pytest.param(name, marks=[pytest.mark.slow] if name == "sgd" else [])
    for name in make_data.SETTINGS
]


@pytest.fixture(params=SETTINGS)
def setting(request):
    return request.param


def test_a_stopped_run_ends_with_the_same_weights(resumed, setting):
    """To the bit where rounding is the same."""
    run = resumed(setting)
    for kind in ("last", "best"):
        ours, theirs = arrays(run, kind), arrays(DATA / "finished" / setting, kind)
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype
            if is_same_machine():
                assert ours[name].tobytes() == array.tobytes(), name
            else:
                np.testing.assert_allclose(
                    ours[name], array, rtol=1e-5, atol=1e-6, err_msg=name
                )


def test_a_stopped_run_ends_with_the_same_scores(resumed, setting):
    found, expected = scores(resumed(setting)), scores(DATA / "finished" / setting)
    assert_close(found, expected)
    assert found == expected or not is_same_machine()


def test_a_stopped_run_goes_on_in_its_curves(resumed, setting):
    """Every point that the older revision wrote, where it wrote it, and none twice."""
    found, expected = (
        read_points(resumed(setting)),
        read_points(DATA / "finished" / setting),
    )
    steps = [[step for step, _ in points.pop(SPEED)] for points in (found, expected)]
    assert steps[0] == steps[1]
    assert {tag for _, tag in found.keys() - expected.keys()} == {BEST_VALID, TEST}
    samples = ".", "epoch/samples"  # the same words, laid out in another way
    texts = [points.pop(samples, []) for points in (found, expected)]
    ours, theirs = ([(step, words(text)) for step, text in each] for each in texts)
    assert ours == theirs
    assert_close({key: found[key] for key in expected}, expected)
    for tag, points in found.items():
        assert len({step for step, *_ in points}) == len(points), tag


def test_evaluate(finished, setting):
    found = make_data.evaluated(run_ptb.main, finished / setting, CORPUS)
    assert_close(found, EXPECTED["evaluate"][setting])


@pytest.mark.parametrize("path", ["sgd", "sgd/saved_model"])
def test_score(finished, path):
    found = make_data.scored_text(run_ptb.main, finished / path)
    assert_close(found, EXPECTED["score"])


@pytest.mark.parametrize("path", ["sgd", "sgd/saved_model"])
def test_sample(finished, path):
    found = make_data.sampled_texts(run_ptb.main, finished / path)
    assert found == EXPECTED["sample"]


def test_saved_model(finished):
    found = make_data.saved_model_numbers(finished / "sgd" / "saved_model")
    assert_close(found, EXPECTED["saved_model"])


def test_keras_file(finished):
    found = make_data.keras_logits(finished / "sgd" / "model.keras")
    assert_close(found, EXPECTED["keras"])


@pytest.mark.slow
def test_a_new_export_gives_the_old_numbers(finished):
    """A new SavedModel and Keras file of the old checkpoint."""
    run = finished / "sgd"
    shutil.rmtree(run / "saved_model")
    (run / "model.keras").unlink()
    assert run_ptb.main(["--mode=export", f"--save_path={run}"]) == 0
    found = make_data.saved_model_numbers(run / "saved_model")
    assert_close(found, EXPECTED["saved_model"])
    assert_close(make_data.keras_logits(run / "model.keras"), EXPECTED["keras"])


def test_report(finished, tmp_path):
    command = ["--mode=report", f"--save_path={finished}", f"--figures_path={tmp_path}"]
    table = make_data.printed(run_ptb.main, *command)
    for setting in make_data.SETTINGS:
        best = scores(finished / setting)["best_weights"]
        (row,) = [line for line in table.splitlines() if f" {setting} " in line]
        assert f"{best['test_perplexity']:.2f}" in row
