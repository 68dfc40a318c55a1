"""Widths of embedding and layers: parameters, memory, arithmetic."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.model import LanguageModel
from ptb_lm.model.dropout import SeedAndStep
from ptb_lm.model.language_model import build_model
from ptb_lm.model.sizes import count_parameters
from ptb_lm.registry import CELLS
from ptb_lm.training import memory
from ptb_lm.training.step import TrainingProgram
from tests.support import reference
from tests.support.arithmetic import (
    BATCH,
    STEPS,
    VOCAB,
    make_config,
    random_windows,
    reference_parameters,
)

WIDE = {"embedding_size": 5, "layer_sizes": "8,6"}


@st.composite
def shapes(draw):
    """Options that decide the number of parameters."""
    layers = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 9), min_size=layers, max_size=layers))
    return {
        "cell": draw(st.sampled_from(list(CELLS))),
        "tied": draw(st.booleans()),
        "hidden_size": draw(st.integers(1, 9)),
        "embedding_size": draw(st.integers(0, 9)),
        "num_layers": layers,
        "layer_sizes": draw(st.sampled_from(["", ",".join(map(str, sizes))])),
    }


@settings(max_examples=25)
@given(values=shapes(), vocab_size=st.integers(1, 20))
def test_parameters_are_counted(values, vocab_size):
    config = Config.from_values(values)
    model = build_model(config, vocab_size)
    assert count_parameters(config.model, vocab_size) == model.count_params()
    held = sum(v.numpy().size for v in model.named_variables().values())
    assert held == model.count_params()


def test_memory_counts_every_layer():
    config = make_config(**WIDE)
    tokens = BATCH * STEPS
    copies = 2 * count_parameters(config.model, VOCAB) - VOCAB * 5
    floats = copies + tokens * (5 + 6 * (8 + 6)) + tokens * VOCAB
    assert memory.training_bytes(config, VOCAB, 0) == 4 * floats


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_names_and_shapes(dtype):
    model = LanguageModel(9, 4, 2, matmul_dtype=dtype, tied=True, **WIDE)
    found = {n: tuple(v.shape) for n, v in model.named_variables().items()}
    assert found == {
        "embedding": (9, 5),
        "lstm_0/kernel": (5, 32),
        "lstm_0/recurrent_kernel": (8, 32),
        "lstm_0/bias": (32,),
        "lstm_1/kernel": (8, 24),
        "lstm_1/recurrent_kernel": (6, 24),
        "lstm_1/bias": (24,),
        "projection": (6, 5),
        "softmax_bias": (9,),
    }
    untied = LanguageModel(9, 4, 2, **WIDE).named_variables()
    assert "projection" not in untied
    assert untied["softmax_kernel"].shape == (6, 9)
    square = LanguageModel(9, 4, 2, tied=True, embedding_size=6, layer_sizes="8,6")
    assert "projection" not in square.named_variables()
    logits, state = model(np.zeros((3, 2), np.int32), training=True)
    assert logits.shape == (3, 2, 9)
    assert [part.shape for part in tf.nest.flatten(state)] == [(3, 8)] * 2 + [
        (3, 6)
    ] * 2


def test_projection_in_bfloat16_is_close():
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    options = {"tied": True, "init_scale": 0.7, **WIDE}
    exact, _ = LanguageModel(9, 4, 2, **options)(ids)
    rounded, _ = LanguageModel(9, 4, 2, matmul_dtype="bfloat16", **options)(ids)
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, atol=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"tied": False, **WIDE},
        {"tied": True, **WIDE},
        {"tied": True, "embedding_size": 6, "layer_sizes": "8,6"},
        {"tied": True, "embedding_size": 5, "cell": "gru"},
    ],
    ids=str,
)
def test_gradients(options):
    """Of all weights, against the NumPy reference."""
    program = TrainingProgram(make_config(**options), VOCAB)
    params = reference_parameters(program.weights)
    inputs, targets = next(random_windows(1))
    nats, _, gradients = program.gradients(inputs, targets, tf.constant(0, tf.int64))
    expected = reference.language_model_loss(
        params,
        inputs,
        targets,
        None,
        tied=options["tied"],
        cell=options.get("cell", "lstm"),
    )
    np.testing.assert_allclose(nats, expected.loss * BATCH, rtol=1e-6)
    assert gradients.keys() == program.weights.keys()
    dense = {
        name: tf.Variable(tf.convert_to_tensor(g)) for name, g in gradients.items()
    }
    for name, value in reference_parameters(dense).items():
        np.testing.assert_allclose(
            value, expected.gradients[name], rtol=1e-4, atol=1e-6, err_msg=name
        )


def test_saving_keeps_the_sizes(tmp_path):
    model = LanguageModel(9, 4, 2, tied=True, **WIDE)
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(ids)[0], model(ids)[0])


def test_files_from_before_there_were_sizes():
    """A model.keras without the options has hidden_size everywhere."""
    config = LanguageModel(9, 4, 2, tied=True).get_config()
    del config["embedding_size"], config["layer_sizes"]
    model = LanguageModel.from_config(config)
    assert {v.shape[0] for v in model.named_variables().values()} == {9, 4, 16}


def test_sizes_that_contradict_the_number_of_layers():
    with pytest.raises(UserError, match="number of layers is 3 here and 2 in"):
        LanguageModel(9, 4, 2, layer_sizes="1,2,3")


def test_the_projection_reads_what_dropout_leaves():
    model = LanguageModel(9, 4, 2, tied=True, keep_prob=0.5, init_scale=0.7, **WIDE)
    ids = np.arange(8, dtype=np.int32).reshape(4, 2)
    seeds = SeedAndStep(tf.constant(1, tf.int64), tf.constant(2, tf.int64))
    outputs = model.outputs(model.embed(ids), model.initial_state(2), seeds)
    projected = tf.einsum(
        "tbi,ij->tbj", outputs.dropped, model.named_variables()["projection"]
    )
    np.testing.assert_allclose(outputs.features, projected, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(outputs.dropped, outputs.raw)
