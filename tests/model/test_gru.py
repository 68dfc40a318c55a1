"""The GRU and the simple layer against Keras, NumPy and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.model import recurrence
from ptb_lm.model.gru import GRU, SimpleRNN, gru_sequence, rnn_sequence
from tests.support import reference

WIDTH, HIDDEN = 3, 4
KERNELS = {
    "gru": (gru_sequence, reference.gru_forward, reference.gru_backward),
    "rnn": (rnn_sequence, reference.rnn_forward, reference.rnn_backward),
}
LAYERS = {"gru": (GRU, keras.layers.GRU), "rnn": (SimpleRNN, keras.layers.SimpleRNN)}


def random_problem(cell, time, batch, seed=0):
    rng = np.random.default_rng(seed)
    columns = {"gru": 3, "rnn": 1}[cell] * HIDDEN
    shapes = {
        "inputs": (time, batch, WIDTH),
        "h": (batch, HIDDEN),
        "kernel": (WIDTH, columns),
        "recurrent_kernel": (HIDDEN, columns),
        "bias": {"gru": (2, columns), "rnn": (columns,)}[cell],
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def check_against_reference(cell, problem, steps_are_static):
    """Outputs, final state, and the gradient of a random function of both."""
    sequence, reference_forward, reference_backward = KERNELS[cell]
    shape = problem["inputs"].shape
    rng = np.random.default_rng(1)
    d_outputs = rng.normal(size=(*shape[:2], HIDDEN))
    d_h = rng.normal(size=(shape[1], HIDDEN))
    spec = tf.TensorSpec([shape[0] if steps_are_static else None, *shape[1:]], "double")

    @tf.function(input_signature=[spec])
    def run(inputs):
        tensors = {k: tf.constant(v) for k, v in problem.items()} | {"inputs": inputs}
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs, h = sequence(**tensors)
            loss = tf.reduce_sum(outputs * d_outputs) + tf.reduce_sum(h * d_h)
        scored = sequence(**tensors, with_gradient=False)
        return outputs, h, tape.gradient(loss, tensors), scored

    outputs, h, gradients, scored = run(problem["inputs"])
    expected, (expected_h,), cache = reference_forward(*problem.values())
    np.testing.assert_allclose(outputs, expected, atol=1e-12)
    np.testing.assert_allclose(h, expected_h, atol=1e-12)
    np.testing.assert_array_equal(scored[0], outputs)
    np.testing.assert_array_equal(scored[1], h)
    expected_gradients = reference_backward(d_outputs, d_h, cache)
    for name, value in zip(problem, expected_gradients, strict=True):
        np.testing.assert_allclose(gradients[name], value, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("cell", KERNELS)
@pytest.mark.parametrize("steps_are_static", [True, False])
@settings(max_examples=4, deadline=None)
@given(time=st.integers(1, 20), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_kernel_equals_the_numpy_reference(cell, steps_are_static, time, batch, seed):
    check_against_reference(
        cell, random_problem(cell, time, batch, seed), steps_are_static
    )


@pytest.mark.parametrize("cell", KERNELS)
@pytest.mark.parametrize("time", [5, 16, 21])
def test_sequences_too_long_to_unroll(cell, time, monkeypatch):
    monkeypatch.setattr(recurrence, "MAX_UNROLLED_STEPS", 3)
    check_against_reference(cell, random_problem(cell, time, 2), steps_are_static=True)


LAYER_CASES = {
    "default": {},
    "sequences": {"return_sequences": True},
    "state": {"return_sequences": True, "return_state": True},
    "backwards": {"return_sequences": True, "go_backwards": True},
    "no bias": {"use_bias": False},
    "stateful": {"stateful": True, "return_sequences": True},
    # These are Keras's own loop underneath.
    "other activation": {"activation": "relu", "return_sequences": True},
    "implementation of Keras": {"rnn_mode": "keras", "return_sequences": True},
}


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("case", LAYER_CASES)
def test_layer_equals_keras(cell, case):
    check_layer(cell, **LAYER_CASES[case])


def test_reset_before_the_product_is_left_to_keras():
    check_layer("gru", reset_after=False, return_sequences=True)


def check_layer(cell, **options):
    """Outputs and gradients with Keras's weights, twice, for stateful layers."""
    our_class, their_class = LAYERS[cell]
    ours = our_class(HIDDEN, **options)
    options.pop("rnn_mode", None)
    theirs = their_class(HIDDEN, **options)
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(2, 5, WIDTH)), tf.float32)
    theirs(inputs), ours(inputs)
    if theirs.stateful:
        theirs.reset_states(), ours.reset_states()
    weights = [rng.normal(size=weight.shape) for weight in theirs.weights]
    for layer in (ours, theirs):
        for variable, value in zip(layer.trainable_weights, weights, strict=False):
            variable.assign(value)
    for _ in range(2):
        results = []
        for layer in (ours, theirs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = tf.nest.flatten(layer(inputs))
                loss = tf.add_n([tf.reduce_sum(tensor**3) for tensor in outputs])
            values = [weight.value for weight in layer.trainable_weights]
            results.append((outputs, tape.gradient(loss, [inputs, *values])))
        for mine, other in zip(*map(tf.nest.flatten, results), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", LAYERS)
def test_the_fused_kernel_is_what_runs(cell, monkeypatch):
    calls = []
    sequence = KERNELS[cell][0]

    def counted(*tensors, **options):
        calls.append(1)
        return sequence(*tensors, **options)

    monkeypatch.setattr(LAYERS[cell][0], "sequence", staticmethod(counted))
    inputs = tf.zeros([2, 4, WIDTH])
    layer = LAYERS[cell][0]
    layer(HIDDEN)(inputs)
    assert calls == [1]
    layer(HIDDEN, rnn_mode="keras")(inputs)
    assert calls == [1]
    with pytest.raises(ValueError, match="rnn_mode='fused'"):
        layer(HIDDEN, rnn_mode="fused", activation="relu")(inputs)
