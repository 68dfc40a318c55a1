"""The SavedModel: its numbers, and that it needs nothing of ours."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ptb_lm.inference.arguments import FUNCTIONS

TEXTS = ["w1 w2 w3\nw4 w5", "w6", "", "w7 nowhere w8\n", "w9 " * 40]
SAVED_MODEL_CLI = pathlib.Path(sys.executable).parent / "saved_model_cli"


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


def test_loaded_equals_live(live_model, saved_model):
    expected, found = calls(live_model), calls(saved_model)
    for name, outputs in expected.items():
        for part, value in outputs.items():
            if value.dtype.is_floating:
                np.testing.assert_allclose(
                    found[name][part], value, rtol=1e-5, atol=2e-6, err_msg=name
                )
            else:
                np.testing.assert_array_equal(found[name][part], value, err_msg=name)


def test_metadata(saved_model):
    metadata = json.loads(saved_model.metadata()["json"].numpy())
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


@pytest.mark.slow
def test_another_process_needs_tensorflow_alone(exported_run, live_model, tmp_path):
    """With no folder of ours on its path, and moved away from its run."""
    moved = tmp_path / "moved"
    shutil.copytree(exported_run / "saved_model", moved)
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
    expected = live_model.score(["w1 w2 w3\nw4 w5", "w6"])["perplexities"].numpy()
    np.testing.assert_allclose(perplexities, expected, rtol=1e-5)
    drawn = live_model.generate(
        ["w1 nowhere", ""], num_tokens=20, temperature=0.8, seed=7
    )
    assert texts == [text.decode() for text in drawn["texts"].numpy()]
    assert signatures == len(FUNCTIONS)


def saved_model_cli(*arguments):
    done = subprocess.run(
        [SAVED_MODEL_CLI, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_saved_model_cli_shows_the_signatures(exported_run):
    shown = saved_model_cli("show", "--dir", exported_run / "saved_model", "--all")
    for name in FUNCTIONS:
        assert f"signature_def['{name}']" in shown
    generate = shown.split("signature_def['generate']")[1].split("signature_def[")[0]
    for name in ("prompts", "num_tokens", "temperature", "top_k", "top_p", "seed"):
        assert f"inputs['{name}']" in generate
    assert re.search(r"outputs\['texts'\].*\n.*DT_STRING\n.*shape: \(-1\)", generate)
    step = shown.split("signature_def['step']")[1].split("signature_def[")[0]
    assert "shape: (-1, -1, 23)" in step and "shape: (-1, 40)" in step


@pytest.mark.slow
def test_saved_model_cli_runs(exported_run, live_model):
    printed = saved_model_cli(
        *("run", "--dir", exported_run / "saved_model"),
        *("--tag_set", "serve", "--signature_def", "generate", "--input_exprs"),
        "prompts=['w1 w2'];num_tokens=6;temperature=1.0;top_k=0;top_p=1.0;seed=5;"
        "allow_unknown=False",
    )
    expected = live_model.generate(["w1 w2"], num_tokens=6, seed=5)["texts"].numpy()[0]
    assert repr(expected) in printed
