"""The Mogrifier LSTM against NumPy, finite differences, the LSTM and Keras's loop."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.model import LanguageModel, recurrence
from ptb_lm.model.cell import LayerOptions
from ptb_lm.model.mogrifier import CELL, Mogrifier, run_mogrifier
from ptb_lm.model.sequence import run_sequence
from ptb_lm.registry import CELLS
from ptb_lm.training.step import TrainingProgram
from tests.support import reference
from tests.support.arithmetic import VOCAB, make_config, random_windows

WIDTH, UNITS = 3, 4
CASES = {
    "full": (5, 0),
    "even": (4, 0),
    "one": (1, 0),
    "low rank": (3, 2),
    "none": (0, 0),
}

each_case = pytest.mark.parametrize("rounds, rank", CASES.values(), ids=CASES)


def random_problem(rounds, rank, time=4, batch=2, seed=0):
    """Inputs, state and weights by name, float64, in the kernel's order."""
    rng = np.random.default_rng(seed)
    shapes = {"inputs": (time, batch, WIDTH), "h": (batch, UNITS), "c": (batch, UNITS)}
    shapes |= Mogrifier(rounds, rank).weight_shapes(WIDTH, UNITS)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def run_kernel(rounds, tensors, **options):
    """Outputs and the parts of the final state, as one list."""
    inputs, h, c, *weights = tensors.values()
    factors = weights[3:]
    each = len(factors) // max(rounds, 1)
    gates = [factors[i * each : (i + 1) * each] for i in range(rounds)]
    outputs, state = run_mogrifier(inputs, [h, c], weights[:3], gates, **options)
    return [outputs, *state]


def expected(rounds, problem):
    """The same of the reference."""
    arguments, factors = list(problem.values())[:6], list(problem.values())[6:]
    each = len(factors) // max(rounds, 1)
    gates = [
        functools.reduce(np.matmul, factors[i * each : (i + 1) * each])
        for i in range(rounds)
    ]
    outputs, state = reference.mogrifier_forward(*arguments, gates)
    return [outputs, *state]


@pytest.fixture
def short_iterations(monkeypatch):
    """Loops of few steps an iteration, which are traced sooner."""
    monkeypatch.setattr(recurrence, "STEPS_OF_AN_ITERATION", 2)


@each_case
@pytest.mark.parametrize(
    "time, is_static", [(1, True), (6, True), (1, False), (7, False)]
)
def test_kernel_equals_the_numpy_reference(
    rounds, rank, time, is_static, short_iterations
):
    problem = random_problem(rounds, rank, time)
    spec = tf.TensorSpec([time if is_static else None, 2, WIDTH], tf.float64)

    @tf.function(input_signature=[spec])
    def run(inputs):
        tensors = {k: tf.constant(v) for k, v in problem.items()} | {"inputs": inputs}
        scored = run_kernel(rounds, tensors, with_gradient=False)
        return run_kernel(rounds, tensors), scored

    found = run(problem["inputs"])
    for mine, without, other in zip(*found, expected(rounds, problem), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)
        np.testing.assert_array_equal(mine, without)


def gradients(rounds, problem, d_results, steps_are_static=True):
    """Of a random linear function of the results, by name."""
    time, *rest = problem["inputs"].shape
    spec = tf.TensorSpec([time if steps_are_static else None, *rest], tf.float64)

    @tf.function(input_signature=[spec])
    def run(inputs):
        tensors = {k: tf.constant(v) for k, v in problem.items()} | {"inputs": inputs}
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            products = zip(run_kernel(rounds, tensors), d_results, strict=True)
            loss = tf.add_n([tf.reduce_sum(r * d) for r, d in products])
        return tape.gradient(loss, tensors)

    return run(problem["inputs"])


def numeric_gradient(function, array, step=1e-3):
    """Central differences of fourth order, of an array that is changed in place."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value, at = array[index], {}
        for k in (-2, -1, 1, 2):
            array[index] = value + k * step
            at[k] = function()
        array[index] = value
        gradient[index] = (at[-2] - 8 * at[-1] + 8 * at[1] - at[2]) / (12 * step)
    return gradient


@each_case
@pytest.mark.parametrize("loop", ["unrolled", "while"])
def test_gradients_are_finite_differences_of_the_reference(
    rounds, rank, loop, monkeypatch, short_iterations
):
    if loop == "while":
        monkeypatch.setattr(recurrence, "MAX_UNROLLED_STEPS", 2)
    problem = random_problem(rounds, rank)
    rng = np.random.default_rng(1)
    d_results = [rng.normal(size=r.shape) for r in expected(rounds, problem)]

    def objective():
        pairs = zip(expected(rounds, problem), d_results, strict=True)
        return sum(np.sum(result * d) for result, d in pairs)

    found = gradients(rounds, problem, d_results)
    assert found.keys() == problem.keys()
    for name, array in problem.items():
        numeric = numeric_gradient(objective, array)
        np.testing.assert_allclose(
            found[name], numeric, rtol=1e-6, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("time", [1, 5])
def test_gradients_of_any_length(time, short_iterations):
    """A sequence of unknown length, and one step, which takes the kernel whole."""
    problem = random_problem(5, 0, time)
    d_results = [np.ones(result.shape) for result in expected(5, problem)]
    found, other = (gradients(5, problem, d_results, known) for known in (True, False))
    for name in problem:
        np.testing.assert_allclose(found[name], other[name], atol=1e-12, err_msg=name)


def test_without_rounds_it_is_the_lstm():
    problem = random_problem(0, 0)
    tensors = {k: tf.constant(v) for k, v in problem.items()}
    inputs, h, c, *weights = tensors.values()
    outputs, state = run_sequence(CELLS["lstm"].cell_kernel, inputs, [h, c], *weights)
    found = run_kernel(0, tensors)
    for mine, other in zip(found, [outputs, *state], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-13)


@each_case
def test_the_model_without_and_with_keras_loop(rounds, rank):
    """Logits, state and gradients of both loops; and weights that are all trained."""
    options = {
        "cell": "mogrifier",
        "mogrifier_rounds": rounds,
        "mogrifier_rank": rank,
        "embedding_size": 5,
        "forget_bias": 1.5,
    }
    window, found = next(random_windows(1)), []
    for rnn_mode in ("fused", "keras"):
        program = TrainingProgram(make_config(rnn_mode=rnn_mode, **options), VOCAB)
        nats, state, slopes = program.gradients(*window, tf.constant(0, tf.int64))
        dense = {n: tf.convert_to_tensor(g) for n, g in slopes.items()}
        found.append([nats, *tf.nest.flatten(state), *dense.values()])
        assert all(np.any(gradient) for gradient in dense.values())
        assert dense.keys() == program.weights.keys()
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
    bias = program.weights["mogrifier_0/bias"]
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.5, 0.0, 0.0], 7))


def test_the_kernel_is_what_runs(monkeypatch):
    def loop(*arguments):
        raise AssertionError("Keras's loop")

    monkeypatch.setattr("ptb_lm.model.mogrifier.run_keras_loop", loop)
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    LanguageModel(9, 4, 2, cell="mogrifier")(ids)
    with pytest.raises(AssertionError, match="Keras's loop"):
        LanguageModel(9, 4, 2, cell="mogrifier", rnn_mode="keras")(ids)


def test_names_of_the_weights():
    assert CELL.weight_names[3:] == ("q_1", "r_2", "q_3", "r_4", "q_5")
    options = ModelConfig(cell="mogrifier", mogrifier_rounds=2, mogrifier_rank=3)
    cell = CELL.with_options(options)
    assert cell.weight_names[3:] == ("q_1_down", "q_1_up", "r_2_down", "r_2_up")
    layer = cell.make_layer(5, "layer", LayerOptions(keras.initializers.Zeros))
    layer.build((None, None, 4))
    shapes = {n: tuple(w.shape) for n, w in cell.named_weights(layer).items()}
    assert shapes == {
        "kernel": (4, 20),
        "recurrent_kernel": (5, 20),
        "bias": (20,),
        "q_1_down": (5, 3),
        "q_1_up": (3, 4),
        "r_2_down": (4, 3),
        "r_2_up": (3, 5),
    }
    assert cell.parameters(4, 5) == layer.count_params()


def test_saving_keeps_rounds_and_rank(tmp_path):
    options = {"cell": "mogrifier", "mogrifier_rounds": 3, "mogrifier_rank": 2}
    model = LanguageModel(9, 4, 2, init_scale=0.7, **options)
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(ids)[0], model(ids)[0])
    assert loaded.named_variables().keys() == model.named_variables().keys()
