"""A command reads each file of a run once."""

import collections
import io
import pathlib
import shutil
import sys

import pytest

import run_ptb

FILES = {
    "config": "flags.txt",
    "vocabulary": "vocabulary.json",
    "weights": ".npz",
    "results": "results.json",
}


@pytest.fixture(scope="module")
def run(exported_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("once") / "run"
    shutil.copytree(exported_run, path)
    (path / "text.txt").write_text("w1 w2 w3\n")
    return path


@pytest.fixture
def opened(run, monkeypatch):
    """How often each file of the run is opened for reading, by name."""
    counts = collections.Counter()

    def count(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and counting:
            path = pathlib.Path(arguments[0])
            name = path.suffix if path.suffix == ".npz" else path.name
            if run in path.parents and name in FILES.values():
                counts[name] += 1

    counting = [True]
    sys.addaudithook(count)  # for good, so that it is switched off
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    yield counts
    counting.clear()


@pytest.mark.parametrize(
    "command, files",
    [
        (["--mode=evaluate", "--text_file={}/text.txt"], "config vocabulary weights"),
        (["--mode=evaluate", "--split=test"], "config vocabulary weights results"),
        (["--mode=sample", "--num_tokens=3"], "config vocabulary weights results"),
        (["--mode=score", "--text=w1 w2"], "config vocabulary weights results"),
        (["--mode=neighbours"], "config vocabulary weights"),
        (["--mode=export", "--export_format=keras"], "config vocabulary weights"),
        pytest.param(
            ["--mode=export"],
            "config vocabulary weights results",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_file_is_read_once(run, opened, command, files):
    (run / "results.json").write_text("{}")
    opened.clear()
    options = [part.replace("{}", str(run)) for part in command]
    assert run_ptb.main([f"--save_path={run}", *options]) == 0
    assert dict(opened) == {FILES[file]: 1 for file in files.split()}


def test_a_report_reads_each_run_once(run, opened, tmp_path):
    results = pathlib.Path(__file__).parents[2] / "results" / "small"
    for name in ("results.json", "flags.txt"):
        (run / name).write_bytes((results / name).read_bytes())
    opened.clear()
    options = [f"--save_path={run}", f"--figures_path={tmp_path}"]
    assert run_ptb.main(["--mode=report", *options]) == 0
    assert dict(opened) == {"results.json": 1, "flags.txt": 1}
