"""Exports are whole whenever they are read, in every format."""

import os
import shutil

import keras
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from ptb_lm.export.export_format import ExportFormat
from ptb_lm.export.exporter import export_run
from ptb_lm.inference.opening import told_by
from ptb_lm.inference.text_model import TextModel
from ptb_lm.registry import EXPORT_FORMATS
from ptb_lm.runs.results import Results, SplitScores
from ptb_lm.runs.trained_run import TrainedRun
from tests.support.models import (
    VOCABULARY,
    make_run,
    plain_evaluator,
)

TEXT = "w1 w2 w3\nw4 w5"


def test_keras_file(exported_run, live_model):
    model = keras.saving.load_model(exported_run / "model.keras")
    ids = VOCABULARY.encode(TokenRules().split(TEXT, close_lines=True))
    expected = live_model.score([TEXT])["perplexities"].numpy()[0]
    assert plain_evaluator(model).exact(ids).perplexity == pytest.approx(
        expected, rel=1e-5
    )


def copied(exported_run, path):
    """A copy of the run, its SavedModel, and every file with what it holds."""
    shutil.copytree(exported_run, path)
    return TrainedRun(path), path / "saved_model"


def scores(perplexity):
    return SplitScores(perplexity, perplexity, perplexity)


@pytest.mark.slow
def test_export_replaces_the_older_one(exported_run, tmp_path):
    trained, path = copied(exported_run, tmp_path / "run")
    (path / "old").touch()
    stale = trained.path / ".export.killed"
    stale.mkdir()
    os.utime(stale, (0, 0))
    trained.results = Results(
        *("test", "builtin", 23, 1, 1, True, [], 0.0, 1, 0.0, 0),
        best_weights=scores(12.5),
        last_weights=scores(13.5),
    )
    paths = export_run(trained)
    assert paths == [path, trained.path / "model.keras"]
    assert not (path / "old").exists()
    names = {entry.name for entry in trained.path.iterdir()}
    assert {"saved_model", "model.keras"} < names
    assert not [name for name in names if name.startswith(".export")]
    facts = told_by(tf.saved_model.load(str(path)))
    assert facts["perplexities"] == scores(12.5).to_json()
    assert facts["weights"] == "best"


def test_a_failed_export_leaves_the_older_one(exported_run, tmp_path, monkeypatch):
    trained, path = copied(exported_run, tmp_path / "run")
    before = (path / "saved_model.pb").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TextModel, "save", full)
    with pytest.raises(UserError, match="saved_model: cannot write: No space left"):
        export_run(trained)
    assert (path / "saved_model.pb").read_bytes() == before
    assert not [p for p in trained.path.iterdir() if p.name.startswith(".export")]


# --- formats -----------------------------------------------------------------------


class WordList(ExportFormat):
    """A format from outside: the vocabulary, of models of one layer."""

    place = "words.txt"
    reader = "people"

    def write(self, run, model, path):
        if model.options.num_layers > 1:
            raise UserError("words.txt: a list of words has one layer")
        path.write_text("\n".join(run.vocabulary.tokens))

    def hint(self, path):
        return f"less {path}"


@pytest.fixture
def words():
    EXPORT_FORMATS.register("words", WordList(), "a list of words")
    yield
    EXPORT_FORMATS.unregister("words")


def test_a_format_from_outside_is_an_option(words, tmp_path, capsys):
    folder = make_run(tmp_path / "run", num_layers=1)
    command = ["--mode=export", f"--save_path={folder.path}", "--export_format=words"]
    assert run_ptb.main(command) == 0
    path = folder.path / "words.txt"
    assert path.read_text() == "\n".join(VOCABULARY.tokens)
    assert capsys.readouterr().out == f"{path}: the best weights; less {path}\n"
    assert not (folder.path / "saved_model").exists()


def test_a_format_that_cannot_express_a_model_says_so(words, tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    command = ["--mode=export", f"--save_path={folder.path}", "--export_format=words"]
    assert run_ptb.main(command) == 2
    assert capsys.readouterr().err == (
        "run_ptb.py: words.txt: a list of words has one layer\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_one_format_leaves_the_others(exported_run, tmp_path):
    trained, path = copied(exported_run, tmp_path / "run")
    before = (path / "saved_model.pb").stat().st_mtime_ns
    (trained.path / "model.keras").write_bytes(b"old")
    assert export_run(trained, "keras") == [trained.path / "model.keras"]
    assert (trained.path / "model.keras").stat().st_size > 1000
    assert (path / "saved_model.pb").stat().st_mtime_ns == before


def test_names_of_formats(capsys, tmp_path):
    folder = make_run(tmp_path / "run")
    command = ["--mode=export", f"--save_path={folder.path}", "--export_format=no_such"]
    assert run_ptb.main(command) == 2
    assert capsys.readouterr().err == (
        "run_ptb.py: --export_format=no_such: must be one of"
        f" {', '.join(EXPORT_FORMATS)}\n"
    )
