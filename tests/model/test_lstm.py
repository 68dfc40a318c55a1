"""The LSTM layer against the plain Keras layer, NumPy and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.model import recurrence
from ptb_lm.model.lstm import LSTM, lstm_sequence
from tests.support import reference

WIDTH, HIDDEN = 3, 4


def random_problem(time, batch, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    shapes = {
        "inputs": (time, batch, WIDTH),
        "h": (batch, HIDDEN),
        "c": (batch, HIDDEN),
        "kernel": (WIDTH, 4 * HIDDEN),
        "recurrent_kernel": (HIDDEN, 4 * HIDDEN),
        "bias": (4 * HIDDEN,),
    }
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def check_against_reference(problem, steps_are_static):
    """Outputs, final state, and the gradient of a random function of all three."""
    shape = problem["inputs"].shape
    spec = [None if not steps_are_static else shape[0], *shape[1:]]
    rng = np.random.default_rng(1)
    d_outputs = rng.normal(size=(*shape[:2], HIDDEN))
    d_h, d_c = rng.normal(size=(2, shape[1], HIDDEN))

    @tf.function(input_signature=[tf.TensorSpec(spec, tf.float64)])
    def run(inputs):
        tensors = {k: tf.constant(v) for k, v in problem.items()} | {"inputs": inputs}
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs, h, c = lstm_sequence(**tensors)
            loss = tf.reduce_sum(outputs * d_outputs)
            loss += tf.reduce_sum(h * d_h) + tf.reduce_sum(c * d_c)
        return outputs, h, c, tape.gradient(loss, tensors)

    outputs, h, c, gradients = run(problem["inputs"])
    expected, (expected_h, expected_c), cache = reference.lstm_forward(
        problem["inputs"],
        problem["h"],
        problem["c"],
        problem["kernel"],
        problem["recurrent_kernel"],
        problem["bias"],
    )
    np.testing.assert_allclose(outputs, expected, atol=1e-12)
    np.testing.assert_allclose(h, expected_h, atol=1e-12)
    np.testing.assert_allclose(c, expected_c, atol=1e-12)
    expected_gradients = reference.lstm_backward(d_outputs, d_h, d_c, cache)
    for name, value in zip(problem, expected_gradients, strict=True):
        np.testing.assert_allclose(gradients[name], value, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("steps_are_static", [True, False])
@settings(max_examples=6, deadline=None)
@given(time=st.integers(1, 20), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_kernel_equals_the_numpy_reference(steps_are_static, time, batch, seed):
    check_against_reference(random_problem(time, batch, seed), steps_are_static)


@pytest.mark.parametrize("time", [5, 16, 21])
def test_sequences_too_long_to_unroll(time, monkeypatch):
    monkeypatch.setattr(recurrence, "MAX_UNROLLED_STEPS", 3)
    check_against_reference(random_problem(time, 2), steps_are_static=True)


@pytest.mark.parametrize("name", list(random_problem(1, 1)))
def test_gradient_by_finite_differences(name):
    problem = random_problem(4, 2)

    def loss_of(value):
        tensors = {k: tf.constant(v) for k, v in problem.items()} | {name: value}
        outputs, h, c = lstm_sequence(**tensors)
        return tf.reduce_sum(outputs**2) + tf.reduce_sum(h * c)

    theoretical, numerical = tf.test.compute_gradient(
        loss_of, [tf.constant(problem[name])], delta=1e-5
    )
    np.testing.assert_allclose(theoretical, numerical, atol=1e-8)


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


@pytest.mark.parametrize("case", LAYER_CASES)
def test_layer_equals_keras(case):
    """Outputs and gradients with Keras's weights, twice, for stateful layers."""
    options = LAYER_CASES[case]
    ours = LSTM(HIDDEN, **options)
    options = {k: v for k, v in options.items() if k != "rnn_mode"}
    theirs = keras.layers.LSTM(HIDDEN, **options)
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(2, 5, WIDTH)), tf.float32)
    theirs(inputs), ours(inputs)
    if theirs.stateful:
        theirs.reset_states(), ours.reset_states()
    ours.set_weights(theirs.get_weights())
    for _ in range(2):
        results = []
        for layer in (ours, theirs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = tf.nest.flatten(layer(inputs))
                loss = tf.add_n([tf.reduce_sum(tensor**3) for tensor in outputs])
            weights = [weight.value for weight in layer.trainable_weights]
            results.append((outputs, tape.gradient(loss, [inputs, *weights])))
        for mine, other in zip(*map(tf.nest.flatten, results), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=2e-6)


def test_masks_are_honoured():
    ours, theirs = (cls(HIDDEN) for cls in (LSTM, keras.layers.LSTM))
    inputs = tf.random.stateless_normal([2, 4, WIDTH], [1, 2])
    mask = tf.constant([[True, True, False, False], [True, False, True, True]])
    theirs(inputs), ours(inputs)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(
        ours(inputs, mask=mask), theirs(inputs, mask=mask), rtol=1e-5, atol=1e-6
    )
    assert not np.allclose(ours(inputs, mask=mask), ours(inputs))


def test_initial_state_is_used_and_differentiable():
    layer = LSTM(HIDDEN)
    inputs = tf.random.stateless_normal([2, 4, WIDTH], [1, 2])
    state = [tf.ones([2, HIDDEN]), tf.ones([2, HIDDEN])]
    with tf.GradientTape() as tape:
        tape.watch(state)
        outputs = layer(inputs, initial_state=state)
    assert not np.allclose(outputs, layer(inputs))
    assert all(np.abs(g).max() > 0 for g in tape.gradient(outputs, state))


def test_saving_and_loading(tmp_path):
    model = keras.Sequential([keras.Input((5, WIDTH)), LSTM(HIDDEN, rnn_mode="keras")])
    inputs = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[0], LSTM)
    assert loaded.layers[0].rnn_mode == "keras"
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


def test_the_fused_kernel_is_what_runs(monkeypatch):
    calls = []

    def counted(*tensors, **options):
        calls.append(1)
        return lstm_sequence(*tensors, **options)

    monkeypatch.setattr(LSTM, "sequence", staticmethod(counted))
    inputs = tf.zeros([2, 4, WIDTH])
    LSTM(HIDDEN)(inputs)
    assert calls == [1]
    LSTM(HIDDEN, rnn_mode="keras")(inputs)
    assert calls == [1]


def test_what_the_fused_kernel_cannot_do_is_refused_when_asked_for():
    with pytest.raises(ValueError, match="rnn_mode='fused'"):
        LSTM(HIDDEN, rnn_mode="fused", activation="relu")(tf.zeros([2, 4, WIDTH]))
    with pytest.raises(ValueError, match="rnn_mode"):
        LSTM(HIDDEN, rnn_mode="fast")
