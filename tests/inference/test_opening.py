"""What is opened as a model of texts: runs, and exports of every format."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.plain import Plain
from ptb_lm.inference import text_model
from ptb_lm.inference.exported import Exported
from ptb_lm.inference.features import features_of
from ptb_lm.inference.opening import open_text_model, scorable
from ptb_lm.inference.scoring import RowIndependent
from ptb_lm.inference.state_layout import StateLayout
from ptb_lm.inference.text_model import FORMAT, TextModel
from tests.support.models import make_run, make_text_model, random_text


@pytest.fixture
def run(exported_run):
    return exported_run


def test_opening(run, tmp_path):
    assert isinstance(open_text_model(run), TextModel)
    assert not isinstance(open_text_model(run / "saved_model"), TextModel)
    with pytest.raises(UserError, match="neither a run"):
        open_text_model(tmp_path)
    bare = tmp_path / "bare"
    tf.saved_model.save(tf.Module(), str(bare))
    with pytest.raises(UserError, match="not of this project: no function generate"):
        open_text_model(bare)
    (bare / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="cannot be loaded"):
        open_text_model(bare)


def test_run_and_vocabulary_that_do_not_match(tmp_path):
    folder = make_run(tmp_path / "run")
    Vocabulary(["<eos>", "a"]).save(folder.path / "vocabulary.json")
    with pytest.raises(UserError, match="does not fit: its embedding"):
        open_text_model(folder.path)


def test_a_run_without_checkpoints_uses_its_saved_model(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run / "saved_model", copy / "saved_model")
    assert open_text_model(copy).vocabulary()["tokens"].shape == (23,)


# --- formats -----------------------------------------------------------------------


class StackedLayout(StateLayout):
    """The state of format 1: [n, parts, hidden]."""

    @property
    def width(self):
        raise AssertionError("not known in format 1")

    def pack(self, state):
        return tf.stack(tf.nest.flatten(state), axis=1)

    def unpack(self, packed):
        parts = tf.unstack(packed, axis=1)
        return tf.nest.pack_sequence_as(self._structure, parts)


@pytest.fixture
def first_format(run, tmp_path, monkeypatch):
    """An export as the first version wrote it."""
    shape = tf.TensorSpec([None, 4, 10])
    signatures = text_model.signatures
    monkeypatch.setattr(StackedLayout, "width", 0)
    monkeypatch.setattr(text_model, "StateLayout", StackedLayout)
    monkeypatch.setattr(text_model, "signatures", lambda _: signatures(shape))
    old = open_text_model(run)
    facts = json.loads(old._metadata_json)
    del facts["format"], facts["state"]
    old._metadata_json = json.dumps(facts)
    old.save(tmp_path / "first")
    return tmp_path / "first"


@pytest.mark.slow
def test_exports_of_the_first_format_sample_and_score(run, first_format, capsys):
    assert open_text_model(first_format).initial_state(2)["state"].shape == (2, 4, 10)
    printed = []
    for path in (run / "saved_model", first_format):
        sample = ["--mode=sample", "--prompt=w1", "--num_tokens=20", "--seed=3"]
        for options in (sample, ["--mode=score", "--text=w1 w2 w3"]):
            assert run_ptb.main([f"--save_path={path}", *options]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "perplexity" in printed[0]


@pytest.mark.slow
def test_an_export_of_the_second_format_has_no_features(run, tmp_path, monkeypatch):
    """It scores as before, and the error says what to do."""
    before = [name for name in text_model.FUNCTIONS if name != "features"]
    monkeypatch.setattr(text_model, "FUNCTIONS", tuple(before))
    old = open_text_model(run)
    old._metadata_json = json.dumps(json.loads(old._metadata_json) | {"format": 2})
    del old.features
    old.save(tmp_path / "second")
    opened = open_text_model(tmp_path / "second")
    expected = open_text_model(run).score(["w1 w2"])["perplexities"]
    np.testing.assert_allclose(opened.score(["w1 w2"])["perplexities"], expected)
    with pytest.raises(UserError, match="of a format that has no features; --mode=exp"):
        list(features_of(opened, ["w1"], [1]))


@pytest.mark.slow
def test_an_export_has_one_kind_of_weights(run):
    """Those of the best checkpoint are not passed off as the last."""
    path = run / "saved_model"
    with pytest.raises(UserError, match=r"^--weights=last: .* has the best weights"):
        open_text_model(path, "last")
    assert open_text_model(path, "best")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sample", "score"])
def test_an_export_of_a_newer_format_ends_in_one_line(run, tmp_path, capsys, mode):
    newer = open_text_model(run)
    facts = json.loads(newer._metadata_json) | {"format": FORMAT + 1}
    newer._metadata_json = json.dumps(facts | {"project": "ptb_lm 9.0"})
    newer.save(tmp_path / "newer")
    assert run_ptb.main([f"--mode={mode}", f"--save_path={tmp_path}/newer"]) == 2
    assert capsys.readouterr().err == (
        f"run_ptb.py: {tmp_path}/newer: an export of format 4, made by a newer version"
        " (ptb_lm 9.0); this one reads formats up to 3\n"
    )


# --- what methods of evaluating score with -----------------------------------------


@pytest.mark.slow
def test_an_export_scores_as_its_model_does(run):
    live, loaded = (open_text_model(run / place) for place in ("", "saved_model"))
    assert isinstance(scorable(live), RowIndependent)
    assert isinstance(scorable(loaded), Exported)
    ids = live.encode([random_text(300)])["ids"].numpy()[0]
    nats = [
        Evaluator(Plain(scorable(model), Config()), chunk_tokens=100).token_nats(ids)
        for model in (live, loaded)
    ]
    np.testing.assert_allclose(nats[0], nats[1], atol=1e-5)
    assert scorable(live).vocab_size == scorable(loaded).vocab_size == 23


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "words", [2, 5, 40, pytest.param(1500, marks=pytest.mark.slow)]
)
def test_windows_score_as_the_graph_does(tied, words):
    """To the bit, but for the last step of a text that fills a window."""
    model, live = make_text_model(tied)
    text = random_text(words)
    ids = live.encode([text + "\n"])["ids"].numpy()[0]
    evaluator = Evaluator(Plain(RowIndependent(model), Config()))
    expected = -live.score([text])["log_probabilities"].numpy()[0, 1:]
    np.testing.assert_allclose(evaluator.token_nats(ids), expected, atol=2e-6)


def test_an_export_has_logits_for_methods_that_mix(run):
    exported = scorable(open_text_model(run / "saved_model"))
    ids = tf.constant([[3, 4], [5, 6], [7, 8]])  # three steps, two rows
    features, _ = exported.features(exported.embed(ids), exported.initial_state(2))
    logits = exported.logits(features)
    assert logits.shape == (3, 2, 23)
    np.testing.assert_allclose(tf.reduce_logsumexp(logits, axis=2), 0.0, atol=1e-5)
