"""Every cell with a `CellKernel` against NumPy, finite differences, Keras's layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.model import fused_layer, recurrence
from ptb_lm.model.sequence import run_sequence
from ptb_lm.registry import CELLS
from tests.support import reference

WIDTH, UNITS = 3, 4
NAMES = [name for name in CELLS if isinstance(CELLS[name], fused_layer.FusedCell)]

each_cell = pytest.mark.parametrize("name", NAMES)


def keras_class(name):
    """The layer that a cell's layer stands for."""
    return getattr(keras.layers, CELLS[name].layer_class.__name__)


def random_problem(name, time, batch, seed=0):
    """Inputs, state and weights by name, float64."""
    rng = np.random.default_rng(seed)
    cell = CELLS[name]
    columns = cell.cell_kernel.gates * UNITS
    shapes = {"inputs": (time, batch, WIDTH)}
    shapes |= {part: (batch, size) for part, size in cell.state_parts(UNITS)}
    shapes |= {"kernel": (WIDTH, columns), "recurrent_kernel": (UNITS, columns)}
    has_rows = cell.cell_kernel.recurrent_bias
    shapes["bias"] = (2, columns) if has_rows else (columns,)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def run_kernel(name, tensors, **options):
    """Outputs and the parts of the final state, as one list."""
    inputs, *state, kernel, recurrent_kernel, bias = tensors.values()
    weights = kernel, recurrent_kernel, bias
    kernel = CELLS[name].cell_kernel
    outputs, state = run_sequence(kernel, inputs, state, *weights, **options)
    return [outputs, *state]


def kernel_with_gradients(name, problem, d_results, steps_are_static):
    """Results, gradients of a random function of them, results without gradient."""
    time, *rest = problem["inputs"].shape
    spec = tf.TensorSpec([time if steps_are_static else None, *rest], tf.float64)

    @tf.function(input_signature=[spec])
    def run(inputs):
        tensors = {k: tf.constant(v) for k, v in problem.items()} | {"inputs": inputs}
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = run_kernel(name, tensors)
            products = zip(results, d_results, strict=True)
            loss = tf.add_n([tf.reduce_sum(r * d) for r, d in products])
        scored = run_kernel(name, tensors, with_gradient=False)
        return results, tape.gradient(loss, tensors), scored

    return run(problem["inputs"])


def check_against_reference(name, problem, steps_are_static):
    """Outputs, final state, and the gradient of a random function of all."""
    forward, backward, *_ = reference.CELLS[name]
    outputs, state, cache = forward(*problem.values())
    rng = np.random.default_rng(1)
    d_results = [rng.normal(size=result.shape) for result in (outputs, *state)]
    results, gradients, scored = kernel_with_gradients(
        name, problem, d_results, steps_are_static
    )
    for ours, theirs in zip(results, [outputs, *state], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    for ours, theirs in zip(scored, results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    expected = zip(problem, backward(*d_results, cache), strict=True)
    for argument, value in expected:
        np.testing.assert_allclose(
            gradients[argument], value, atol=1e-11, err_msg=argument
        )


@each_cell
@pytest.mark.parametrize(
    "steps_are_static", [True, pytest.param(False, marks=pytest.mark.slow)]
)
@settings(max_examples=5, deadline=None)
@given(time=st.integers(1, 20), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_kernel_equals_the_numpy_reference(name, steps_are_static, time, batch, seed):
    problem = random_problem(name, time, batch, seed)
    check_against_reference(name, problem, steps_are_static)


@each_cell
@pytest.mark.parametrize("time", [5, 16, 21])
def test_sequences_too_long_to_unroll(name, time, monkeypatch):
    monkeypatch.setattr(recurrence, "MAX_UNROLLED_STEPS", 3)
    check_against_reference(name, random_problem(name, time, 2), steps_are_static=True)


@pytest.mark.parametrize(
    "name, argument", [(n, a) for n in NAMES for a in random_problem(n, 1, 1)]
)
def test_gradient_by_finite_differences(name, argument):
    problem = random_problem(name, 4, 2)

    def loss_of(value):
        tensors = {k: tf.constant(v) for k, v in problem.items()} | {argument: value}
        results = run_kernel(name, tensors)
        return tf.add_n([tf.reduce_sum(tf.sin(result)) for result in results])

    theoretical, numerical = tf.test.compute_gradient(
        loss_of, [tf.constant(problem[argument])], delta=1e-5
    )
    np.testing.assert_allclose(theoretical, numerical, atol=1e-8)


@each_cell
@pytest.mark.parametrize("time", [1, 5])
def test_bfloat16_products_are_close_and_all_else_is_float32(name, time):
    """A single step takes the kernel whole, several take it gate by gate."""
    problem = {
        k: tf.constant(v, tf.float32)
        for k, v in random_problem(name, time, batch=2).items()
    }
    found = []
    for dtype in (None, "bfloat16"):
        with tf.GradientTape() as tape:
            tape.watch(problem)
            results = run_kernel(name, problem, matmul_dtype=dtype)
            loss = tf.add_n([tf.reduce_sum(result**2) for result in results])
        found.append([*results, *tape.gradient(loss, problem).values()])
    exact, rounded = found
    assert not np.array_equal(rounded[0], exact[0]), "nothing was rounded"
    for mine, other in zip(rounded, exact, strict=True):
        assert mine.dtype == tf.float32
        np.testing.assert_allclose(mine, other, atol=0.05 * np.abs(other).max())


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


def pair_of_layers(name, **options):
    """Our layer and Keras's with equal random weights, and inputs [2, 5, width]."""
    ours = CELLS[name].layer_class(UNITS, **options)
    options.pop("rnn_mode", None)
    theirs = keras_class(name)(UNITS, **options)
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(2, 5, WIDTH)), tf.float32)
    theirs(inputs), ours(inputs)
    for layer in (ours, theirs):
        if layer.stateful:
            layer.reset_states()
    for mine, other in zip(
        ours.trainable_weights, theirs.trainable_weights, strict=True
    ):
        value = rng.normal(scale=0.7, size=other.shape)
        mine.assign(value), other.assign(value)
    return ours, theirs, inputs


def check_layer(name, **options):
    """Outputs and gradients with Keras's weights, twice, for stateful layers."""
    ours, theirs, inputs = pair_of_layers(name, **options)
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


@each_cell
@pytest.mark.parametrize("case", LAYER_CASES)
def test_layer_equals_keras(name, case):
    check_layer(name, **LAYER_CASES[case])


def test_reset_before_the_product_is_left_to_keras():
    check_layer("gru", reset_after=False, return_sequences=True)


@each_cell
def test_masks_are_honoured(name):
    ours, theirs, inputs = pair_of_layers(name)
    mask = tf.constant([[True, True, False, False, False], [True, False] * 2 + [True]])
    masked = ours(inputs, mask=mask)
    np.testing.assert_allclose(masked, theirs(inputs, mask=mask), rtol=1e-5, atol=1e-6)
    assert not np.allclose(masked, ours(inputs))


@each_cell
def test_initial_state_is_used_and_differentiable(name):
    layer, _, inputs = pair_of_layers(name)
    state = [tf.ones([2, size]) for size in CELLS[name].state_sizes(UNITS)]
    with tf.GradientTape() as tape:
        tape.watch(state)
        outputs = layer(inputs, initial_state=state)
    assert not np.allclose(outputs, layer(inputs))
    assert all(np.abs(g).max() > 0 for g in tape.gradient(outputs, state))


@each_cell
def test_saving_and_loading(name, tmp_path):
    layer = CELLS[name].layer_class(UNITS, rnn_mode="keras", matmul_dtype="bfloat16")
    model = keras.Sequential([keras.Input((5, WIDTH)), layer])
    inputs = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is CELLS[name].layer_class
    assert loaded.layers[0].rnn_mode == "keras"
    assert loaded.layers[0].matmul_dtype == "bfloat16"
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


def test_registered_names():
    """Files of every version name the layers so."""
    expected = {"lstm": "ptb_lm>LSTM", "gru": "ptb_lm>GRU", "rnn": "ptb_lm>SimpleRNN"}
    for name, registered in expected.items():
        layer_class = CELLS[name].layer_class
        assert keras.saving.get_registered_name(layer_class) == registered


@each_cell
def test_the_fused_kernel_is_what_runs(name, monkeypatch):
    calls = []

    def counted(kernel, *arguments, **options):
        calls.append(kernel)
        return run_sequence(kernel, *arguments, **options)

    monkeypatch.setattr(fused_layer, "run_sequence", counted)
    inputs, layer_class = tf.zeros([2, 4, WIDTH]), CELLS[name].layer_class
    layer_class(UNITS)(inputs)
    assert calls == [CELLS[name].cell_kernel]
    layer_class(UNITS, rnn_mode="keras")(inputs)
    assert len(calls) == 1


@each_cell
def test_what_the_fused_kernel_cannot_do_is_refused_when_asked_for(name):
    layer_class, inputs = CELLS[name].layer_class, tf.zeros([2, 4, WIDTH])
    with pytest.raises(ValueError, match="rnn_mode='fused'"):
        layer_class(UNITS, rnn_mode="fused", activation="relu")(inputs)
    layer = layer_class(UNITS, rnn_mode="fused")
    with pytest.raises(ValueError, match="rnn_mode='fused'"):
        layer(inputs, mask=tf.ones([2, 4], tf.bool))
    with pytest.raises(ValueError, match="rnn_mode"):
        layer_class(UNITS, rnn_mode="fast")
