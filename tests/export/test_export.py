"""The SavedModel: its numbers, its errors, and that it needs nothing of ours."""

import itertools
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.export.saved_model import export_run
from ptb_lm.inference import sampling
from ptb_lm.inference.arguments import FUNCTIONS
from ptb_lm.inference.opening import open_text_model
from ptb_lm.inference.text_model import TextModel
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.folder import RunFolder
from tests.support import reference
from tests.support.arithmetic import reference_parameters
from tests.support.models import (
    VOCABULARY,
    make_run,
)

TEXTS = ["w1 w2 w3\nw4 w5", "w6", "", "w7 nowhere w8\n", "w9 " * 40]
SAVED_MODEL_CLI = pathlib.Path(sys.executable).parent / "saved_model_cli"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, exported."""
    folder = make_run(tmp_path_factory.mktemp("export") / "my run")
    export_run(folder)
    return folder


@pytest.fixture(scope="module")
def live(run):
    return open_text_model(run.path)


@pytest.fixture(scope="module")
def loaded(run):
    return tf.saved_model.load(str(run.path / "saved_model"))


def make_live(
    tied=False, vocabulary=VOCABULARY, token_type="word", hidden=10, **kwargs
):
    model = LanguageModel(
        len(vocabulary), hidden, 2, init_scale=0.7, tied=tied, seed=1, **kwargs
    )
    return model, TextModel(model, vocabulary, token_type)


def random_text(words, seed=0):
    rng = np.random.default_rng(seed)
    ends = np.array([" ", "\n"])[(rng.random(words) < 0.1).astype(int)]
    ids = rng.integers(0, 23, words)  # w21 and w22 are unknown
    return "".join(f"w{i}{end}" for i, end in zip(ids, ends, strict=True))


# --- score -------------------------------------------------------------------------


@pytest.mark.parametrize("words", [1, 2, 30, 3000])
@pytest.mark.parametrize("tied", [False, True])
def test_score_is_what_evaluate_and_the_reference_give(tied, words):
    model, text_model = make_live(tied)
    text = random_text(words)
    ids = VOCABULARY.encode(TokenRules().split(text, close_lines=True))
    scored = text_model.score([text])
    perplexity = scored["perplexities"].numpy()[0]
    evaluated = Evaluator(model).exact(ids)
    assert evaluated.tokens == scored["counted"].numpy().sum()
    assert perplexity == pytest.approx(evaluated.perplexity, abs=1e-4)
    if words <= 30:
        params = reference_parameters(model.named_variables())
        nats, count = reference.perplexity_exact(params, ids, tied)
        assert perplexity == pytest.approx(math.exp(nats / count), abs=1e-4)
    names = scored["tokens"].numpy()[0].astype(str).tolist()
    assert names == VOCABULARY.decode(ids)


def test_a_sentence_after_a_line_end_is_counted_whole():
    model, text_model = make_live()
    scored = text_model.score(["w1 w2", "", "w3"], context="\n")
    assert scored["counted"].numpy().tolist() == [[True] * 3, [False] * 3, [1, 1, 0]]
    ids = VOCABULARY.encode(["<eos>", "w1", "w2", "<eos>"])
    expected = Evaluator(model).exact(ids)
    assert scored["perplexities"][0].numpy() == pytest.approx(expected.perplexity)
    longer = text_model.score(["w2"], context="w4 w1")["log_probabilities"]
    whole = text_model.score(["w4 w1 w2"])["log_probabilities"]
    np.testing.assert_allclose(longer[0], whole[0, 2:], atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_a_text_has_the_same_score_in_any_batch(tied, monkeypatch):
    """To the bit, on the processors we know; see sampling.FEWEST_ROWS."""
    monkeypatch.setattr(sampling, "CHUNK_TOKENS", 128)  # several chunks and tiles
    _, text_model = make_live(tied, hidden=64)
    texts = [random_text(words, words) for words in (1, 90, 33, 700, 2, 90, 5)]
    batch = text_model.score(texts)
    for row, text in enumerate(texts):
        alone = text_model.score([text])
        count = alone["tokens"].shape[1]
        scores = batch["log_probabilities"].numpy()
        np.testing.assert_array_equal(
            alone["log_probabilities"][0], scores[row, :count]
        )
        assert not scores[row, count:].any()
        assert not batch["counted"].numpy()[row, count:].any()
        np.testing.assert_array_equal(
            alone["perplexities"][0], batch["perplexities"][row]
        )


def test_a_long_text_takes_little_memory(monkeypatch):
    """Never logits of more than CHUNK_TOKENS tokens, however many there are."""
    rows = []
    logits = LanguageModel.logits

    def watched(self, features):
        tf.py_function(lambda n: rows.append(int(n)), [tf.shape(features)[0]], [])
        return logits(self, features)

    monkeypatch.setattr(LanguageModel, "logits", watched)
    _, text_model = make_live()
    scored = text_model.score([random_text(100_000)])
    assert scored["counted"].numpy().sum() > 100_000
    assert np.isfinite(scored["perplexities"].numpy()).all()
    assert max(rows) <= sampling.CHUNK_TOKENS
    rows.clear()
    text_model.score(["w1 w2"] * 5000)
    assert max(rows) <= sampling.CHUNK_TOKENS


def test_empty_and_unknown_texts():
    _, text_model = make_live()
    scored = text_model.score(["", " ", "zz yy", "w1"])
    np.testing.assert_array_equal(
        np.isnan(scored["perplexities"]), [True, True, False, False]
    )
    assert scored["tokens"].numpy()[2].tolist() == [b"<unk>", b"<unk>", b"<eos>"]
    nothing = text_model.score(tf.constant([], tf.string))
    assert nothing["tokens"].shape == (0, 0)
    assert text_model.score([""])["perplexities"].shape == (1,)
    for texts in text_model.generate(tf.constant([], tf.string), 3).values():
        assert texts.shape[0] == 0


# --- text --------------------------------------------------------------------------


def test_characters():
    vocabulary = Vocabulary(["\n", " ", "<unk>", *"abcé"])
    _, text_model = make_live(vocabulary=vocabulary, token_type="char")
    scored = text_model.score(["a é\r\nx"])
    names = scored["tokens"].numpy()[0]
    assert [name.decode() for name in names] == ["a", " ", "é", "\n", "<unk>"]
    drawn = text_model.generate(["ab c"], num_tokens=30)
    tokens = drawn["tokens"].numpy()[0].tolist()
    assert drawn["texts"].numpy()[0] == b"ab c" + b"".join(tokens)
    assert b"\n" in tokens and b" " in tokens


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells(cell, tmp_path):
    """Score, step and draw, saved and restored, against the reference."""
    model, text_model = make_live(cell=cell)
    text = random_text(20)
    ids = VOCABULARY.encode(TokenRules().split(text, close_lines=True))
    params = reference_parameters(model.named_variables())
    nats, count = reference.perplexity_exact(params, ids, cell=cell)
    text_model.save(tmp_path / "saved_model")
    restored = tf.saved_model.load(str(tmp_path / "saved_model"))
    for each in (text_model, restored):
        perplexity = each.score([text])["perplexities"].numpy()[0]
        assert perplexity == pytest.approx(np.exp(nats / count), rel=1e-4)
        assert each.initial_state(3)["state"].shape == (3, 2, 10)
        state, scores = each.initial_state(1)["state"], []
        for id, target in itertools.pairwise(ids):
            stepped = each.step([[id]], state)
            state = stepped["state"]
            scores.append(stepped["log_probabilities"].numpy()[0, 0, target])
        assert -sum(scores) == pytest.approx(nats, rel=1e-4)
    drawn = [m.generate(["w1"], num_tokens=9)["ids"] for m in (text_model, restored)]
    assert drawn[0].numpy().tolist() == drawn[1].numpy().tolist()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(ids[None])[0], model(ids[None])[0], rtol=1e-6)


def test_invalid_utf8_is_unknown(live):
    scored = live.score([b"w1 \xff\xfe w2"])
    assert scored["tokens"].numpy()[0].tolist() == [b"w1", b"<unk>", b"w2", b"<eos>"]


# --- arguments ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value",
    [
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", math.nan),
        ("top_k", -1),
        ("num_tokens", 0),
    ],
)
def test_bad_arguments_are_named(loaded, name, value):
    arguments = {"num_tokens": 3} | {name: value}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be"):
        loaded.generate(["w1"], **arguments)


def test_bad_k(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must be at least 1"):
        loaded.next_tokens(["w1"], k=0)
    assert loaded.next_tokens(["w1"], k=1000)["tokens"].shape == (1, 23)


def test_unknown_words_without_unk():
    _, text_model = make_live(vocabulary=Vocabulary(["<eos>", "a", "b"]))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"not in the vocabulary.*zz"
    ):
        text_model.score(["a zz b"])
    assert np.isfinite(text_model.score(["a b"])["perplexities"][0])


def test_nothing_to_start_from():
    _, text_model = make_live(vocabulary=Vocabulary(["a", "b"]))
    assert text_model.generate(["a\nb"], 4)["ids"].shape == (1, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="empty prompt"):
        text_model.generate(["a", ""])


def test_vocabulary_of_another_model():
    model = LanguageModel(20, 4, 1)
    with pytest.raises(UserError, match="23 tokens, the model 20"):
        TextModel(model, VOCABULARY)


# --- the SavedModel ----------------------------------------------------------------


def calls(model):
    """Results of every function, one by one."""
    state = model.initial_state(2)["state"]
    step = model.step([[1, 2, 3], [4, 5, 6]], state)
    begin = model.begin([[1, 2, 3], [4, 5, 6]])
    draw = model.draw(begin["last_ids"], begin["state"], 5, position=3, seed=6)
    return {
        "generate": model.generate(TEXTS, num_tokens=20, top_k=9, top_p=0.95, seed=3),
        "greedy": model.generate(TEXTS, num_tokens=20, temperature=0.0),
        "score": model.score(TEXTS),
        "score_after": model.score(TEXTS, context="w3\n"),
        "next_tokens": model.next_tokens(TEXTS, k=4),
        "initial_state": {"state": state},
        "step": step,
        "begin": begin,
        "draw": draw,
        "split": model.split(TEXTS),
        "encode": model.encode(TEXTS),
        "decode": model.decode([[1, 2, 0, 3], [0, 0, 5, 6]]),
        "vocabulary": model.vocabulary(),
    }


def test_loaded_equals_live(live, loaded):
    expected, found = calls(live), calls(loaded)
    for name, outputs in expected.items():
        for part, value in outputs.items():
            if value.dtype.is_floating:
                np.testing.assert_allclose(
                    found[name][part], value, rtol=1e-5, atol=2e-6, err_msg=name
                )
            else:
                np.testing.assert_array_equal(found[name][part], value, err_msg=name)


def test_metadata(loaded):
    metadata = json.loads(loaded.metadata()["json"].numpy())
    assert metadata["vocabulary_size"] == 23
    assert metadata["token_type"] == "word"
    assert metadata["weights"] == "best"
    assert metadata["parameters"] > 1000


ELSEWHERE = """
import json, sys
sys.modules["ptb_lm"] = None  # where it is installed it cannot be imported either
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
scored = model.score(["w1 w2 w3\\nw4 w5", "w6"])
texts = model.generate(["w1 nowhere", ""], num_tokens=20, temperature=0.8, seed=7)
assert not tf.config.list_physical_devices("GPU")
print(json.dumps([
    scored["perplexities"].numpy().tolist(),
    [text.decode() for text in texts["texts"].numpy()],
    len(model.signatures),
]))
"""


def test_another_process_needs_tensorflow_alone(run, live, tmp_path):
    """With no folder of ours on its path, and moved away from its run."""
    moved = tmp_path / "moved"
    shutil.copytree(run.path / "saved_model", moved)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, str(moved)],
        cwd=tmp_path,
        env=environment | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    perplexities, texts, signatures = json.loads(done.stdout.splitlines()[-1])
    expected = live.score(["w1 w2 w3\nw4 w5", "w6"])["perplexities"].numpy()
    np.testing.assert_allclose(perplexities, expected, rtol=1e-5)
    drawn = live.generate(["w1 nowhere", ""], num_tokens=20, temperature=0.8, seed=7)
    assert texts == [text.decode() for text in drawn["texts"].numpy()]
    assert signatures == len(FUNCTIONS)


def saved_model_cli(*arguments):
    done = subprocess.run(
        [SAVED_MODEL_CLI, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_saved_model_cli_shows_the_signatures(run):
    shown = saved_model_cli("show", "--dir", run.path / "saved_model", "--all")
    for name in FUNCTIONS:
        assert f"signature_def['{name}']" in shown
    generate = shown.split("signature_def['generate']")[1].split("signature_def[")[0]
    for name in ("prompts", "num_tokens", "temperature", "top_k", "top_p", "seed"):
        assert f"inputs['{name}']" in generate
    assert re.search(r"outputs\['texts'\].*\n.*DT_STRING\n.*shape: \(-1\)", generate)
    step = shown.split("signature_def['step']")[1].split("signature_def[")[0]
    assert "shape: (-1, -1, 23)" in step and "shape: (-1, 4, 10)" in step


def test_saved_model_cli_runs(run, live):
    printed = saved_model_cli(
        *("run", "--dir", run.path / "saved_model"),
        *("--tag_set", "serve", "--signature_def", "generate", "--input_exprs"),
        "prompts=['w1 w2'];num_tokens=6;temperature=1.0;top_k=0;top_p=1.0;seed=5;"
        "allow_unknown=False",
    )
    expected = live.generate(["w1 w2"], num_tokens=6, seed=5)["texts"].numpy()[0]
    assert repr(expected) in printed


# --- files -------------------------------------------------------------------------


def test_keras_file(run, live):
    model = keras.saving.load_model(run.path / "model.keras")
    ids = VOCABULARY.encode(TokenRules().split(TEXTS[0], close_lines=True))
    expected = live.score([TEXTS[0]])["perplexities"].numpy()[0]
    assert Evaluator(model).exact(ids).perplexity == pytest.approx(expected, rel=1e-5)


def copied(run, path):
    shutil.copytree(run.path, path)
    return RunFolder(path), path / "saved_model"


def test_export_replaces_the_older_one(run, tmp_path):
    folder, path = copied(run, tmp_path / "run")
    (path / "old").touch()
    stale = folder.path / ".export.killed"
    stale.mkdir()
    os.utime(stale, (0, 0))
    export_run(folder, "best", {"best_weights": {"valid_perplexity": 12.5}})
    assert not (path / "old").exists()
    names = {entry.name for entry in folder.path.iterdir()}
    assert {"saved_model", "model.keras"} < names
    assert not [name for name in names if name.startswith(".export")]
    metadata = json.loads(tf.saved_model.load(str(path)).metadata()["json"].numpy())
    assert metadata["perplexities"] == {"valid_perplexity": 12.5}


def test_a_failed_export_leaves_the_older_one(run, tmp_path, monkeypatch):
    folder, path = copied(run, tmp_path / "run")
    before = (path / "saved_model.pb").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TextModel, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        export_run(folder)
    assert (path / "saved_model.pb").read_bytes() == before
    assert not [p for p in folder.path.iterdir() if p.name.startswith(".export")]


def test_opening(run, tmp_path):
    assert isinstance(open_text_model(run.path), TextModel)
    assert not isinstance(open_text_model(run.path / "saved_model"), TextModel)
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
    shutil.copytree(run.path / "saved_model", copy / "saved_model")
    assert open_text_model(copy).vocabulary()["tokens"].shape == (23,)
