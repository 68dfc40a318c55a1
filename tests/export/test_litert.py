"""The LiteRT export; and what int8 costs, on a model that has learned something."""

import contextlib
import io
import json
import re

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.data.corpus import load_corpus
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.training import finish
from tests.support.exports import export, run_alone
from tests.support.models import make_run

WIDTHS = {"embedding_size": 7, "layer_sizes": "12,9", "num_layers": 2}
# Nats of the tokens of a text, read one by one.
READER = """
from ai_edge_litert.interpreter import Interpreter
ids = json.loads(sys.argv[2])
step = Interpreter(sys.argv[1]).get_signature_runner()
state = np.zeros(step.get_input_details()["state"]["shape"], np.float32)
nats = 0.0
for before, after in zip(ids[:-1], ids[1:]):
    result = step(ids=np.array([[before]], np.int32), state=state)
    state = result["state"]
    nats -= float(result["log_probabilities"][0, 0, after])
loaded = {name.split(".")[0] for name, module in sys.modules.items() if module}
print(json.dumps([nats, sorted(loaded & {"ptb_lm", "tensorflow", "keras"})]))
"""


def perplexity_in_litert(path, ids):
    nats, loaded = run_alone(READER, path / "model.tflite", json.dumps(ids.tolist()))
    assert loaded == []
    return np.exp(nats / (len(ids) - 1))


def perplexity_of(step, ids):
    """Of a function that gives the log-probabilities after all ids [1, t]."""
    scores = np.asarray(step(ids[None, :-1]))[0]
    return np.exp(-scores[np.arange(len(ids) - 1), ids[1:]].mean())


def perplexity_in_tensorflow(run, ids):
    model = tf.saved_model.load(str(export(run, "saved_model")))
    state = model.initial_state(1)["state"]
    return perplexity_of(lambda x: model.step(x, state)["log_probabilities"], ids)


def operators(path):
    """Names of a model's operators, as TensorFlow's analyzer lists them."""
    content = (path / "model.tflite").read_bytes()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        tf.lite.experimental.Analyzer.analyze(model_content=content)
    return set(re.findall(r"Op#\d+ ([\w.:]+)\(", printed.getvalue()))


def is_built_in(operator):
    """Flex operators and an app's own ones are listed as FlexNAME and CUSTOM."""
    return operator.isupper() and operator != "CUSTOM"


def test_what_is_not_built_in_would_be_seen():
    assert is_built_in("FULLY_CONNECTED")
    assert not is_built_in("FlexMatMul") and not is_built_in("CUSTOM")


@pytest.mark.slow
@pytest.mark.parametrize("export_dtype", ["float32", "int8"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "mogrifier"])
def test_operators_are_built_in(cell, export_dtype, tmp_path):
    run = make_run(tmp_path / "run", cell=cell, **WIDTHS).path
    found = operators(export(run, "litert", export_dtype=export_dtype))
    assert {"FULLY_CONNECTED", "GATHER", "LOG_SOFTMAX"} <= found
    assert all(map(is_built_in, found)), found


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "mogrifier"])
@pytest.mark.parametrize("tied", [False, True])
def test_perplexity_is_that_of_the_saved_model(cell, tied, tmp_path):
    """In a process without TensorFlow, the state carried over 300 tokens."""
    run = make_run(tmp_path / "run", cell=cell, tied=tied, **WIDTHS).path
    ids = np.random.default_rng(2).integers(0, 23, 300, dtype=np.int32)
    found = perplexity_in_litert(export(run, "litert"), ids)
    assert found == pytest.approx(perplexity_in_tensorflow(run, ids), rel=1e-4)


@pytest.mark.slow
def test_a_run_with_products_of_bfloat16(tmp_path):
    """LiteRT has none: the export is that of the same weights in float32."""
    runs = [
        make_run(tmp_path / dtype, dtype=dtype).path
        for dtype in ("bfloat16", "float32")
    ]
    one, other = (export(run, "litert") / "model.tflite" for run in runs)
    assert operators(one.parent) == operators(other.parent)
    assert one.stat().st_size == other.stat().st_size


# --- int8 ---------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def trained(request, tmp_path_factory):
    """A run of the built-in corpus that has learned a little, and a text."""
    path = tmp_path_factory.mktemp("trained") / "run"
    options = ["--hidden_size=100", "--max_max_epoch=1", "--max_tokens=60000"]
    options += ["--sample_tokens=0", f"--tied={request.param}", f"--save_path={path}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "export_run", lambda *_: None)
        assert run_ptb.main(options) == 0
    return path, load_corpus(TrainedRun(path).config.data).splits["test"][:2001]


def sizes(run, name, file):
    """Bytes of a model of int8, and of float32."""
    paths = (export(run, name, export_dtype=dtype) for dtype in ("int8", "float32"))
    return [(path / file).stat().st_size for path in paths]


@pytest.mark.slow
def test_int8_in_litert(trained):
    run, ids = trained
    expected = perplexity_in_tensorflow(run, ids)
    assert expected < 100, "of 257 words: the model has learned something"
    small, large = sizes(run, "litert", "model.tflite")
    assert small <= 0.3 * large
    assert perplexity_in_litert(run / "litert", ids) == pytest.approx(
        expected, rel=1e-4
    )
    assert perplexity_in_litert(run / "litert-int8", ids) <= 1.01 * expected


@pytest.mark.slow
def test_int8_in_onnx(trained):
    run, ids = trained
    expected = perplexity_in_tensorflow(run, ids)
    small, large = sizes(run, "onnx", "model.onnx")
    assert small <= 0.3 * large
    session = onnxruntime.InferenceSession(run / "onnx-int8" / "model.onnx")
    state = np.zeros([1, 400], np.float32)
    found = perplexity_of(
        lambda x: session.run(["log_probabilities"], {"ids": x, "state": state})[0], ids
    )
    assert found <= 1.01 * expected
