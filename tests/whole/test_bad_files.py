"""Files that are not what they should be: one line, status 2, nothing changed.

Runs, checkpoints, vocabularies, SavedModels and archives; test_command_line_errors.py
has flags and corpora.
"""

import gzip
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.config import DataConfig
from ptb_lm.data.corpus import load_corpus
from ptb_lm.errors import UserError
from ptb_lm.inference.features import features_of
from ptb_lm.runs.folder import RunFolder
from ptb_lm.training.step import TrainingProgram
from tests.support.archives import DATA, plain, special, tar_bytes, tgz, wanted
from tests.support.files import write_corpus

OPTIONS = ["--model=test", "--hidden_size=3"]
MODES = ["train", "evaluate", "sample", "score", "export"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with one checkpoint, and a SavedModel that is not of this project."""
    path = tmp_path_factory.mktemp("bad files")
    write_corpus(path / "corpus")
    data = f"--data_path={path}/corpus"
    config = run_ptb.parse([*OPTIONS, data])
    corpus = load_corpus(DataConfig(data_path=str(path / "corpus")))
    folder = RunFolder(path / "run")
    folder.open_for_training(config, corpus.vocabulary)
    program = TrainingProgram(config, len(corpus.vocabulary))
    arrays = {name: v.numpy() for name, v in program.variables().items()}
    (path / "run" / "checkpoints").mkdir()
    metadata = {"position": {}, "corpus": corpus.digest()}
    folder.checkpoints.save(0, arrays, metadata, best=True)
    folder.close()
    (path / "pairs.tsv").write_text("the cat\tcat the\n")
    module = tf.Module()
    module.weight = tf.Variable(np.ones(1000, np.float32))
    tf.saved_model.save(module, str(path / "theirs"))
    return path


@pytest.fixture
def run(made, tmp_path):
    """A run of one's own to spoil."""
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def refuses(fails, made, run):
    """Uses the spoilt run in a mode; returns the line."""

    def use(mode, *more):
        data = f"--data_path={made}/corpus"
        arguments = {
            "train": [*OPTIONS, data],
            "evaluate": [data],
            "sample": ["--prompt=the cat"],
            "score": ["--text=the cat"],
            "pairs": [f"--text_file={made}/pairs.tsv"],
        }.get(mode, [])
        return fails(f"--mode={mode}", f"--save_path={run}", *arguments, *more)

    return use


# --- Small files of a run -----------------------------------------------------

NO_VOCABULARY = {
    "missing": None,
    "empty": b"",
    "cut": b'["the", "ca',
    "not UTF-8": b'["\xff"]',
    "an object": b'{"the": 0}',
    "numbers": b"[1, 2]",
    "twice": b'["the", "the"]',
    "no tokens": b"[]",
    "nested": b"[" * 10**5,
    "half of a pair": b'["\\ud800"]',
    "of another model": b'["the", "cat"]',
}


@pytest.mark.parametrize("content", NO_VOCABULARY.values(), ids=NO_VOCABULARY)
@pytest.mark.parametrize("mode", ["train", "evaluate", "sample"])
def test_vocabulary(refuses, run, mode, content):
    (run / "vocabulary.json").unlink()
    if content is not None:
        (run / "vocabulary.json").write_bytes(content)
    assert "vocabulary" in refuses(mode) or content == NO_VOCABULARY["of another model"]


NO_FLAGS = {
    "empty line": "--hidden_size=3\n\n--seed=1\n",
    "an unknown option": "--no_such_option=1\n",
    "no value": "--hidden_size\n",
    "not a number": "--hidden_size=three\n",
    "out of range": "--hidden_size=0\n",
    "not a truth": "--tied=perhaps\n",
    "not text": b"\xff\xfe\n",
    "a file of zeros": b"\0" * 4096,
}


@pytest.mark.parametrize("content", NO_FLAGS.values(), ids=NO_FLAGS)
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_flags(refuses, run, mode, content):
    data = content if isinstance(content, bytes) else content.encode()
    (run / "flags.txt").write_bytes(data)
    assert refuses(mode)


NO_RESULTS = {
    "empty": "",
    "cut": '{"epochs": [',
    "a list": "[]",
    "another object": '{"a": 1}',
    "epochs of another kind": '{"epochs": 3, "finished": true}',
    "nested": "[" * 10**5,
}


@pytest.mark.parametrize("content", NO_RESULTS.values(), ids=NO_RESULTS)
def test_results(refuses, run, content):
    (run / "results.json").write_text(content)
    assert str(run / "results.json") in refuses("report")


@pytest.mark.parametrize("size", [10**9, 30_000])
@pytest.mark.parametrize("mode", ["evaluate", "sample", "export"])
def test_a_network_beyond_memory(refuses, run, mode, size):
    text = (run / "flags.txt").read_text()
    assert "--hidden_size=3\n" in text
    text = text.replace("--hidden_size=3\n", f"--hidden_size={size}\n")
    (run / "flags.txt").write_text(text)
    assert "the checkpoint does not fit: it has 119 parameters" in refuses(mode)


# --- Checkpoints --------------------------------------------------------------


def spoil_checkpoints(run, kind):
    """Makes every checkpoint of the run bad in one way."""
    folder = RunFolder(run).checkpoints
    checkpoint = folder.load("last")
    arrays, metadata = dict(checkpoint.arrays), dict(checkpoint.metadata)
    if kind == "cut":
        for path in (run / "checkpoints").iterdir():
            path.write_bytes(path.read_bytes()[:-100])
        return
    if kind == "missing":
        shutil.rmtree(run / "checkpoints")
        return
    if kind == "a file in the folder's place":
        shutil.rmtree(run / "checkpoints")
        (run / "checkpoints").write_text("mine")
        return
    if kind == "wider":
        arrays["model/embedding"] = np.ones((9, 9), np.float32)
    elif kind == "other type":
        arrays["model/embedding"] = arrays["model/embedding"].astype(np.float64)
    elif kind == "one layer more":
        arrays["model/lstm_1/bias"] = arrays["model/lstm_0/bias"]
    elif kind == "not finite":
        arrays["model/embedding"] = np.full_like(arrays["model/embedding"], np.nan)
    elif kind == "texts":
        arrays["model/embedding"] = arrays["model/embedding"].astype(str)
    elif kind == "one array less":
        del arrays["model/softmax_bias"]
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    folder.save(5, arrays, metadata, best=True)


@pytest.mark.filterwarnings("ignore:.*damaged checkpoint")
@pytest.mark.parametrize("kind", ["cut", "wider", "other type", "one layer more"])
@pytest.mark.parametrize("mode", MODES)
def test_checkpoint(refuses, run, mode, kind):
    spoil_checkpoints(run, kind)
    assert str(run) in refuses(mode)


@pytest.mark.parametrize("kind", ["not finite", "texts"])
@pytest.mark.parametrize(
    "mode", ["evaluate", "sample", "score", "export", "neighbours"]
)
def test_weights_that_are_no_numbers(refuses, run, mode, kind):
    spoil_checkpoints(run, kind)
    assert refuses(mode).endswith(": embedding has what is no number")


@pytest.mark.parametrize(
    "mode, said",
    [
        ("sample", "the model's probabilities are not finite"),
        ("evaluate", "the perplexity is not finite (nan nats a token)"),
        ("evaluate --confidence=0.95", "the perplexity is not finite"),
        ("score", "the perplexity is not finite"),
        ("pairs", "the perplexity is not finite"),
    ],
)
def test_weights_that_give_no_probabilities(refuses, run, mode, said):
    folder = RunFolder(run).checkpoints
    checkpoint = folder.load("last")
    arrays = {name: np.full_like(a, 3e38) for name, a in checkpoint.arrays.items()}
    folder.save(9, arrays, checkpoint.metadata, best=True)
    assert said in refuses(*mode.split())


def test_states_that_are_not_finite():
    class Model:
        def features(self, texts):
            return {"features": tf.constant([[[1.0, np.nan]]])}

    with pytest.raises(UserError, match="states are not finite: its weights are too"):
        list(features_of(Model(), ["the"], [1]))


@pytest.mark.parametrize("kind", ["missing", "one array less"])
@pytest.mark.parametrize("mode", ["evaluate", "sample", "export"])
def test_checkpoint_that_lacks_something(refuses, run, mode, kind):
    spoil_checkpoints(run, kind)
    assert "checkpoint" in refuses(mode)


METADATA = {
    "no position": {},
    "position of nothing": {"position": None},
    "negative": {"position": {"step": -1}},
    "not finite": {"position": {"epoch_nats": float("inf")}},
    "too large": {"position": {"step": 2**63}},
    "larger than a float": {"position": {"step": 10**400}},
    "a truth": {"position": {"step": True}},
    "no figures": {"position": {"epoch": 1, "epochs": [{}]}},
    "epochs that are none": {"position": {"epoch": 2, "epochs": [1, 2]}},
    "too few epochs": {"position": {"epoch": 1}},
    "an unknown counter": {"position": {"steps\nof": 1}},
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_metadata(refuses, run, metadata, monkeypatch):
    folder = RunFolder(run).checkpoints
    checkpoint = folder.load("last")
    corpus = {"corpus": checkpoint.metadata["corpus"]}
    # As json.dumps writes it, infinity included, which the project never does.
    dumps = json.dumps
    monkeypatch.setattr(json, "dumps", lambda value, **_: dumps(value))
    folder.save(9, checkpoint.arrays, metadata | corpus)
    assert "not of this run" in refuses("train")


def test_checkpoint_of_another_text(refuses, run):
    folder = RunFolder(run).checkpoints
    checkpoint = folder.load("last")
    folder.save(9, checkpoint.arrays, checkpoint.metadata | {"corpus": "0" * 64})
    assert "holds a run on another text" in refuses("train")


# --- SavedModels --------------------------------------------------------------


def spoil_saved_model(path, kind):
    if kind == "no variables":
        shutil.rmtree(path / "variables")
    elif kind == "cut variables":
        (data,) = (path / "variables").glob("*.data-*")
        os.truncate(data, 100)
    elif kind == "cut index":
        os.truncate(path / "variables" / "variables.index", 20)
    elif kind != "of another project":
        graph = path / "saved_model.pb"
        content = graph.read_bytes()
        graph.write_bytes(
            {
                "empty": b"",
                "text": b"not a graph",
                "zeros": b"\0" * len(content),
                "cut": content[: len(content) // 2],
            }[kind]
        )


@pytest.mark.parametrize("mode", ["sample", "score"])
@pytest.mark.parametrize(
    "kind",
    [
        "of another project",
        "no variables",
        "cut variables",
        "cut index",
        "empty",
        "text",
        "zeros",
        "cut",
    ],
)
def test_saved_model(fails, made, tmp_path, mode, kind):
    shutil.copytree(made / "theirs", tmp_path / "theirs")
    spoil_saved_model(tmp_path / "theirs", kind)
    said = f"--{'prompt' if mode == 'sample' else 'text'}=the cat"
    line = fails(f"--mode={mode}", f"--save_path={tmp_path}/theirs", said)
    assert line.startswith(f"{tmp_path}/theirs: ")


# --- Archives -----------------------------------------------------------------


def bomb():
    """A file of which the archive says that it is large, and it is."""
    return tgz([plain(DATA + "ptb.train.txt", b"\0" * (65 << 20))])


TRAIN = DATA + "ptb.train.txt"
ARCHIVES = {
    "empty": b"",
    "text": b"<html>not found</html>",
    "zeros": b"\0" * 4096,
    "no tar inside": gzip.compress(b"text"),
    "an empty tar": tgz([]),
    "cut": tgz(wanted())[:-50],
    "cut early": tgz(wanted())[:12],
    "a bit flipped": bytes([*tgz(wanted())[:40], 0xA5, *tgz(wanted())[41:]]),
    "another text": tgz(wanted()),  # md5 sums are those of the real one
    "a file missing": tgz(wanted(leave_out=("ptb.test.txt",))),
    "a path out of it": tgz([plain("../../" + TRAIN, b"x"), *wanted()]),
    "an absolute path": tgz([plain("/tmp/ptb.train.txt", b"x"), *wanted()]),
    "a link": tgz([special(TRAIN, tarfile.SYMTYPE, "/etc/passwd")]),
    "a hard link": tgz([special(TRAIN, tarfile.LNKTYPE, "/etc/passwd")]),
    "a device": tgz([special(TRAIN, tarfile.CHRTYPE)]),
    "a pipe": tgz([special(TRAIN, tarfile.FIFOTYPE)]),
    "a folder": tgz([special(TRAIN, tarfile.DIRTYPE)]),
    "the same twice": tgz([*wanted(), *wanted()]),
    "a bomb": bomb(),
    "not compressed": tar_bytes(wanted()),
}


@pytest.mark.parametrize("content", ARCHIVES.values(), ids=ARCHIVES)
def test_archive(fails, tmp_path, content):
    path = tmp_path / "archive.tgz"
    path.write_bytes(content)
    (tmp_path / "cache").mkdir()
    line = fails(
        "--data_path=ptb",
        f"--ptb_url=file://{path}",
        f"--cache_dir={tmp_path}/cache",
    )
    assert line.startswith(f"cannot get the Penn Treebank from file://{path}: ")


def test_text_file_to_evaluate(run, tmp_path, fails):
    for name, content in (("empty", b""), ("bytes", b"\xff\n"), ("folder", None)):
        path = tmp_path / name
        path.mkdir() if content is None else path.write_bytes(content)
        line = fails("--mode=evaluate", f"--save_path={run}", f"--text_file={path}")
        assert line.startswith(str(path))
