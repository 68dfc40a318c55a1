"""A run from Python: `ptb_lm.load`."""

import json
import subprocess
import sys

import numpy as np
import pytest

import ptb_lm
import run_ptb
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from tests.support.files import SPLITS, write_corpus
from tests.support.models import make_run

pytestmark = pytest.mark.slow  # a model, and functions that are traced


@pytest.fixture(scope="module")
def loaded(exported_run):
    return ptb_lm.load(str(exported_run))


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    """A run of a character model."""
    path = tmp_path_factory.mktemp("characters") / "run"
    make_run(path, Vocabulary([*"\n abcd"]), token_type="char")
    return ptb_lm.load(path)


def printed(capsys, *arguments):
    """The JSON objects that a command prints."""
    capsys.readouterr()
    assert run_ptb.main([*arguments, "--format=json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_generate_is_what_sample_prints(loaded, capsys):
    place = f"--save_path={loaded.path}"
    sample = ["--mode=sample", place, "--prompt=w1 w2", "--num_tokens=9", "--seed=3"]
    expected = [entry["text"] for entry in printed(capsys, *sample, "--num_samples=2")]
    assert loaded.generate(["w1 w2"] * 2, 9, seed=3) == expected
    (plain,) = printed(capsys, *sample, "--temperature=1")
    assert loaded.generate(["w1 w2"], 9, temperature=1, seed=3) == [plain["text"]]


def test_score_is_what_score_prints(loaded, capsys, monkeypatch, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("w1 w2 w3\nw4\n")
    command = ["--mode=score", f"--save_path={loaded.path}", f"--text_file={path}"]
    expected = printed(capsys, *command, "--each_line")
    found = loaded.score(["w1 w2 w3", "w4"])
    for scored, entry in zip(found, expected, strict=True):
        assert scored.tokens == entry["tokens"]
        np.testing.assert_allclose(scored.nats, entry["nats"], rtol=1e-5)
        assert scored.score.tokens == entry["counted_tokens"]


def test_features_are_what_predicts_the_next_token(loaded):
    texts = ["w1 w2 w3", "", "w1"]
    features = loaded.features(texts)
    assert [rows.shape for rows in features] == [(3, 10), (0, 10), (1, 10)]
    assert features[0].dtype == np.float32
    np.testing.assert_allclose(features[2], features[0][:1], atol=1e-6)
    weights = loaded.weights
    logits = features[0] @ weights["softmax_kernel"] + weights["softmax_bias"]
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    (scored,) = loaded.score(["w1 w2 w3"])
    targets = loaded.vocabulary.encode(scored.tokens[1:])
    nats = -logs[np.arange(3), targets]
    np.testing.assert_allclose(nats, scored.nats[1:], rtol=1e-4)


def test_evaluate_is_what_evaluate_prints(loaded, capsys, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", **dict.fromkeys(SPLITS, "w1 w2\n" * 90))
    options = {"data_path": str(corpus), "batch_size": 3, "num_steps": 4}
    run = ptb_lm.load(make_run(tmp_path / "run", **options).path)
    command = ["--mode=evaluate", f"--save_path={run.path}"]
    for counting in ("exact", "tutorial"):
        (entry,) = printed(capsys, *command, "--split=valid", f"--counting={counting}")
        score = run.evaluate("valid", counting=counting)
        assert entry["perplexity"] == score.perplexity
        assert entry["counted_tokens"] == score.tokens
        assert entry["counting"] == counting and entry["text"] == "corpus valid"
    alone = ["--ngram_order=2", "--mixture_weights=0,1"]
    (entry,) = printed(capsys, *command, "--split=valid", *alone)
    ngrams = run.evaluate("valid", ngram_order=2, mixture_weights="0,1")
    assert entry["perplexity"] == ngrams.perplexity
    whole = run.evaluate("valid")
    assert run.evaluate(text="w1 w2\n" * 90) == whole
    assert run.evaluate(text=" w1 w2\n" * 89 + "w1 w2") == whole


def test_characters(characters):
    """A text begins after a line end, as a line of the corpus does."""
    (text,) = characters.generate(["ab"], 20, temperature=0)
    assert text.startswith("ab") and len(text) == 22
    (scored,) = characters.score(["ab"])
    assert scored.tokens == ["a", "b"] and None not in scored.nats
    (after,) = characters.score(["\nab"])
    assert after.tokens == ["\n", "a", "b"]
    (features,) = characters.features(["ab"])
    assert features.shape == (2, 10)


def test_unknown_words(loaded):
    """They are read as <unk>, or left out; <unk> is drawn where it is asked for."""
    texts = ["w1 nowhere w2", "w1 w2"]
    first, second = loaded.generate(texts, 300, seed=3)
    assert first.startswith("w1 <unk> w2") and "<unk>" not in first[11:] + second
    assert "<unk>" in loaded.generate(["w1"], 300, unknown="draw")[0]
    scored, _ = loaded.score(texts)
    assert scored.tokens[1] == "<unk>" and scored.unknown.share == 0.25
    with pytest.warns(UserWarning, match="1 tokens of 'w1 nowhere w2' are not in"):
        found = loaded.generate(texts, 30, seed=3, unknown="skip")
    assert found == loaded.generate(["w1 w2"] * 2, 30, seed=3)
    with pytest.warns(UserWarning, match="left out"):
        scored, same = loaded.score(texts, unknown="skip")
    assert scored.tokens == same.tokens and scored.nats == same.nats
    assert scored.unknown.left_out == 1 and same.unknown.left_out == 0
    (whole,) = loaded.features(["w1 <unk> w2"])
    np.testing.assert_array_equal(loaded.features(["w1 nowhere w2"])[0], whole)


def test_unknown_characters_are_left_out(characters):
    """Where nothing stands for them, whatever is asked for but an error."""
    with pytest.warns(UserWarning, match="2 tokens of 'azbz' are not"):
        assert characters.generate(["azbz"], 9) == characters.generate(["ab"], 9)
    with pytest.warns(UserWarning, match="left out"):
        (scored,) = characters.score(["azb"], unknown="unk")
    assert scored.tokens == ["a", "b"] and scored.unknown.share == 1 / 3
    with pytest.warns(UserWarning, match="left out"):
        (features,) = characters.features(["azb"])
    np.testing.assert_array_equal(features, characters.features(["ab"])[0])
    left = characters.evaluate(text="azb\n", unknown="skip")
    assert left == characters.evaluate(text="ab\n")


def test_nothing(loaded):
    assert loaded.generate([]) == loaded.score([]) == loaded.features([]) == []


def test_mistakes(loaded, characters, tmp_path):
    with pytest.raises(TypeError, match="a list of texts is needed"):
        loaded.generate("w1")
    with pytest.raises(UserError, match="temperature=-1"):
        loaded.generate(["w1"], temperature=-1)
    with pytest.raises(UserError, match="not in the vocabulary: 'z'"):
        characters.score(["az"], unknown="error")
    with pytest.raises(UserError, match="not in the vocabulary: 'nowhere'"):
        loaded.generate(["w1 nowhere"], unknown="error")
    with pytest.raises(UserError, match="not in the vocabulary: 'z'"):
        characters.evaluate(text="az")
    with pytest.raises(UserError, match="unknown=drop"):
        loaded.generate(["w1"], unknown="drop")
    with pytest.raises(UserError, match="the given text has 0 tokens"):
        loaded.evaluate(text="")
    with pytest.raises(UserError, match="no run there"):
        ptb_lm.load(tmp_path)
    with pytest.raises(ValueError, match="not best or last"):
        ptb_lm.load(loaded.path, weights="worst")


def test_the_package_is_light():
    code = "import json, sys, ptb_lm; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"tensorflow", "keras", "numpy", "absl"}
