"""The ONNX export: its numbers, what is in the file, and what it refuses."""

import json
import sys

import numpy as np
import onnx
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.export import onnx_graph, onnx_layers, onnx_softmaxes
from tests.support.documents import PROJECT
from tests.support.exports import export, run_alone
from tests.support.models import make_run

CHARACTERS = Vocabulary(["\n", *" abcdefghijklmnopqrstuvwxyz"])
WIDTHS = {"embedding_size": 7, "layer_sizes": "12,9"}
MODELS = {
    "lstm": {},
    "lstm-tied": {"tied": True, **WIDTHS},
    "lstm-characters": {
        "token_type": "char",
        "vocabulary": CHARACTERS,
        "num_layers": 3,
    },
    "gru": WIDTHS,
    "gru-tied": {"tied": True, "embedding_size": 13},
    "rnn": {"embedding_size": 4},
    "rnn-tied-characters": {
        "token_type": "char",
        "vocabulary": CHARACTERS,
        "tied": True,
    },
    "mogrifier": {"mogrifier_rounds": 4, **WIDTHS},
    "lstm-adaptive": {"softmax": "adaptive", "softmax_cutoffs": "5,12"},
    "gru-adaptive-head-alone": {"softmax": "adaptive", "softmax_cutoffs": "99"},
    "lstm-adaptive-tied": {
        "softmax": "adaptive",
        "softmax_cutoffs": "5,12",
        "tied": True,
        **WIDTHS,
    },
    "rnn-adaptive-tied-head-alone": {
        "softmax": "adaptive",
        "softmax_cutoffs": "99",
        "tied": True,
    },
    "mogrifier-tied": {"mogrifier_rank": 3, "tied": True},
}
TOKENS = 1000
# Reads two rows in pieces, each from the state that the piece before gave.
READER = """
import onnxruntime
given = np.load(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1])
state, scores, begin = given["state"], [], 0
for length in given["lengths"]:
    inputs = {"ids": given["ids"][:, begin : begin + length], "state": state}
    piece, state = session.run(["log_probabilities", "next_state"], inputs)
    scores.append(piece)
    begin += length
np.savez(sys.argv[3], scores=np.concatenate(scores, axis=1), state=state)
loaded = {name.split(".")[0] for name, module in sys.modules.items() if module}
print(json.dumps(sorted(loaded & {"ptb_lm", "tensorflow", "keras"})))
"""


def options_of(name):
    return {"cell": name.split("-")[0], "num_layers": 2, **MODELS[name]}


def read_alone(path, tmp_path, ids, width):
    """Scores [n, TOKENS, vocabulary] and the last state, of onnxruntime alone."""
    lengths = [1, 1, 70, 300, 28, 1, 599]
    assert sum(lengths) == ids.shape[1]
    state = np.zeros([len(ids), width], np.float32)
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    np.savez(given, ids=ids, state=state, lengths=lengths)
    assert run_alone(READER, path / "model.onnx", given, found) == []
    return np.load(found)


def compare(run, path, tmp_path):
    """Asserts that an ONNX export says what the SavedModel of the same run says."""
    model = tf.saved_model.load(str(export(run, "saved_model")))
    size = int(model.vocabulary()["tokens"].shape[0])
    ids = np.random.default_rng(1).integers(0, size, [2, TOKENS], dtype=np.int32)
    state = model.initial_state(2)["state"]
    expected = model.step(ids, state)
    found = read_alone(path, tmp_path, ids, state.shape[1])
    np.testing.assert_allclose(
        found["scores"], expected["log_probabilities"], atol=1e-4, rtol=0
    )
    np.testing.assert_allclose(found["state"], expected["state"], atol=1e-4, rtol=0)


def test_the_equality_is_of_numbers_that_differ(tmp_path):
    """The weights are large enough for the state to matter."""
    run = make_run(tmp_path / "run").path
    path = export(run, "onnx")
    ids = np.zeros([1, TOKENS], np.int32)
    scores = read_alone(path, tmp_path, ids, 40)["scores"]
    assert np.abs(scores[0, 1] - scores[0, 0]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_are_those_of_the_saved_model(name, tmp_path):
    run = make_run(tmp_path / "run", **options_of(name)).path
    compare(run, export(run, "onnx"), tmp_path)


@pytest.mark.parametrize("export_dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_valid(name, export_dtype, tmp_path):
    """And its operators are ONNX's own, but for the LSTM of int8."""
    run = make_run(tmp_path / "run", **options_of(name)).path
    path = export(run, "onnx", export_dtype=export_dtype)
    model = onnx.load(path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    microsoft = [node.op_type for node in model.graph.node if node.domain]
    is_special = name.startswith("lstm") and export_dtype == "int8"
    assert set(microsoft) == ({"DynamicQuantizeLSTM"} if is_special else set())
    matrices = {
        tensor.data_type
        for tensor in model.graph.initializer
        if np.prod(tensor.dims) > 200 and "scale" not in tensor.name
    }
    kind = onnx.TensorProto.INT8 if export_dtype == "int8" else onnx.TensorProto.FLOAT
    assert matrices == {kind}


def test_a_tied_matrix_is_stored_once(tmp_path):
    run = make_run(tmp_path / "run", tied=True, hidden_size=100).path
    for export_dtype in ("float32", "int8"):
        path = export(run, "onnx", export_dtype=export_dtype)
        model = onnx.load(path / "model.onnx")
        shapes = [tuple(tensor.dims) for tensor in model.graph.initializer]
        assert shapes.count((23, 100)) + shapes.count((100, 23)) == 1


def test_the_facts_beside_the_model(tmp_path):
    run = make_run(tmp_path / "run", **options_of("lstm-characters")).path
    facts = json.loads((export(run, "onnx") / "model.json").read_text("utf-8"))
    assert facts["tokens"] == list(CHARACTERS.tokens)
    assert (facts["token_type"], facts["normalize"]) == ("char", "none")
    assert (facts["line_end_id"], facts["unknown_id"]) == (0, None)
    parts = [(part["layer"], part["name"], part["size"]) for part in facts["state"]]
    assert parts == [(i, name, 10) for i in range(3) for name in "hc"]
    assert (facts["format"], facts["weights"]) == (1, "best")


# --- what is refused ----------------------------------------------------------------


def command(run, *more):
    return ["--mode=export", f"--save_path={run}", "--export_format=onnx", *more]


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("run_ptb.py: ")


def test_a_cell_that_onnx_lacks(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path / "run", cell="gru").path
    monkeypatch.delitem(onnx_layers.LAYERS, "gru")
    assert run_ptb.main(command(run)) == 2
    assert one_line(capsys) == (
        "--export_format=onnx: cannot express --cell=gru, only lstm, rnn, mogrifier"
    )
    assert not (run / "onnx").exists()


def test_a_softmax_that_onnx_lacks(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path / "run").path
    monkeypatch.delitem(onnx_softmaxes.SOFTMAXES, "full")
    assert run_ptb.main(command(run)) == 2
    assert one_line(capsys) == (
        "--export_format=onnx: cannot express --softmax=full, only sampled, adaptive"
    )


def test_a_weight_that_the_graph_lacks():
    """As a model would have that is no longer what the exporter knows."""
    graph = onnx_graph.Graph({"embedding": np.ones([2, 3], np.float32)}, False)
    with pytest.raises(UserError, match="a model with the weight embedding"):
        graph.finish([], [])


def test_a_model_too_large_for_one_file(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path / "run").path
    monkeypatch.setattr(onnx_graph, "MAX_BYTES", 2**20 + 5000)
    assert run_ptb.main(command(run)) == 2
    assert "bytes; one file holds 1,053,576" in one_line(capsys)


def test_without_the_package_onnx(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path / "run").path
    for name in ("onnx_step", "onnx_layers", "onnx_softmaxes", "onnx_graph"):
        monkeypatch.delitem(sys.modules, f"ptb_lm.export.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert '"onnx>=1.23,<2"' in (PROJECT / "pyproject.toml").read_text()
    assert run_ptb.main(command(run)) == 2
    assert one_line(capsys) == (
        "--export_format=onnx: the package onnx is missing (pip install"
        " 'onnx>=1.23,<2')"
    )


@pytest.mark.parametrize("typed", [[], ["--export_format=keras"]])
def test_int8_of_a_format_that_has_none(typed, tmp_path, capsys):
    run = make_run(tmp_path / "run").path
    given = ["--mode=export", f"--save_path={run}", "--export_dtype=int8", *typed]
    assert run_ptb.main(given) == 2
    assert one_line(capsys) == (
        "--export_dtype=int8 has no effect here; it is for --export_format=onnx or"
        " litert"
    )
