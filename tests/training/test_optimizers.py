"""What an optimizer keeps, what it is given, and its rule with every option.

test_arithmetic has the rules in a whole training step.
"""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.model.sizes import count_parameters
from ptb_lm.registry import OPTIMIZERS
from ptb_lm.runs.folder import RunFolder
from ptb_lm.training import memory
from ptb_lm.training.optimizers.base import Optimizer
from ptb_lm.training.step import TrainingProgram
from tests.support import reference
from tests.support.arithmetic import VOCAB, make_config, random_windows
from tests.support.made_up import make_config as made_up_config
from tests.support.made_up import train


def program_of(optimizer, **options):
    return TrainingProgram(make_config(optimizer=optimizer, **options), VOCAB)


def take_steps(program, count):
    windows = [np.stack(part) for part in zip(*random_windows(count), strict=True)]
    batches = iter(tf.data.Dataset.from_tensor_slices(tuple(windows)))
    program.train_steps(batches, 0, np.full(count, 0.1))


@pytest.mark.parametrize(
    "optimizer, slots",
    [
        ("sgd", []),
        ("momentum", ["momentum"]),
        ("adam", ["m", "v"]),
        ("adamw", ["m", "v"]),
    ],
)
def test_slots_are_zero_at_first_and_named_in_checkpoints(optimizer, slots):
    program = program_of(optimizer)
    variables = program.variables()
    found = {n for n in variables if n.startswith("optimizer/")}
    expected = {f"optimizer/{n}/{slot}" for n in program.weights for slot in slots}
    assert found == expected
    for name in found:
        weight = program.weights[name.split("/", 1)[1].rsplit("/", 1)[0]]
        assert variables[name].shape == weight.shape
        assert not variables[name].numpy().any()
    take_steps(program, 1)
    assert all(variables[name].numpy().any() for name in found)


RATES, FACTOR = [0.1, 0.05, 0.2, 0.1], 0.75


def reference_step(name, params, grads, slots, rate, options):
    """One step of a rule in float64: params and slots."""
    l2 = options.get("l2", 0.0)
    grads = {n: FACTOR * g + l2 * params[n] for n, g in grads.items()}
    adam = {
        "beta1": options.get("adam_beta1", 0.9),
        "beta2": options.get("adam_beta2", 0.999),
        "eps": options.get("adam_epsilon", 1e-8),
    }
    if name == "sgd":
        return reference.sgd_step(params, grads, rate), None
    if name == "momentum":
        return reference.momentum_step(params, grads, slots, rate)
    if name == "adam":
        return reference.adam_step(params, grads, slots, rate, **adam)
    decay = options.get("weight_decay", 0.0)
    return reference.adamw_step(params, grads, slots, rate, decay, **adam)


ADAM = {"adam_beta1": 0.7, "adam_beta2": 0.9, "adam_epsilon": 0.02}


@pytest.mark.parametrize(
    "name, options",
    [
        *((name, {}) for name in ("sgd", "momentum", "adam", "adamw")),
        *((name, {"l2": 0.3}) for name in ("sgd", "momentum", "adam", "adamw")),
        ("adam", ADAM),
        ("adamw", ADAM),
        ("adamw", ADAM | {"weight_decay": 0.4}),
    ],
)
def test_rules(name, options):
    """Four steps of a table of which rows are read, and of a matrix, in float64.

    L2 comes after clipping, and moves the rows that were not read as well.
    """
    rng = np.random.default_rng(0)
    shapes = {"table": (6, 3), "matrix": (3, 4)}
    params = {n: rng.normal(size=shape) for n, shape in shapes.items()}
    weights = {n: tf.Variable(p, dtype=tf.float32) for n, p in params.items()}
    config = make_config(optimizer=name, **options).training
    optimizer, slots = OPTIMIZERS[name](weights, config), None
    for step, rate in enumerate(RATES):
        rows, values = np.array([1, 4]), rng.normal(size=(2, 3))
        table = np.zeros((6, 3))
        table[rows] = values
        grads = {"table": table, "matrix": rng.normal(size=(3, 4))}
        given = {n: tf.constant(g, tf.float32) for n, g in grads.items()}
        given["table"] = tf.IndexedSlices(
            tf.constant(values, tf.float32), tf.constant(rows), tf.constant([6, 3])
        )
        numbers = tf.constant(rate), tf.constant(FACTOR), tf.constant(step, tf.int64)
        optimizer.apply(given, weights, *numbers)
        params, slots = reference_step(name, params, grads, slots, rate, options)
    for n, expected in params.items():
        np.testing.assert_allclose(weights[n], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"adam_beta1": 0.8}, "--adam_beta1=0.8 has no effect with --optimizer=sgd"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "it is for adamw"),
        ({"optimizer": "adamw", "weight_decay": 0.1, "l2": 0.1}, "exclude each other"),
        ({"adam_epsilon": 0.1, "optimizer": "momentum"}, "it is for adam, adamw"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message) as caught:
        train(tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("tied", [False, True])
def test_rows_that_are_not_read_move_only_where_the_gradient_is_dense(name, tied):
    """Rows of the embedding: those that two windows leave out."""
    program = program_of(name, tied=tied)
    read = [inputs for inputs, _ in random_windows(2)]
    unread = np.setdiff1d(np.arange(VOCAB), read)
    assert unread.size
    before = program.weights["embedding"].numpy()
    take_steps(program, 2)
    moved = (program.weights["embedding"].numpy() != before).any(axis=1)
    assert moved[np.unique(read)].all()
    assert moved[unread].all() if tied else not moved[unread].any()


class Averaged(Optimizer):
    """SGD that remembers the mean of each weight and of nothing else, by name."""

    slots = ("sum",)

    def __init__(self, weights, config):
        super().__init__(weights, config)
        self.variables["steps"] = tf.Variable(0.0, trainable=False)

    def update(self, name, weight, gradient, rate, factor, step):
        assert not isinstance(gradient, tf.IndexedSlices)
        if not name.endswith("bias"):  # a group of its own: biases stay
            weight.assign_sub(rate * factor * gradient)
        self.slot(name, "sum").assign_add(weight)
        if name == "embedding":
            self.variables["steps"].assign_add(1.0)


@pytest.fixture
def averaged():
    OPTIMIZERS.register("averaged", Averaged, "made up here")
    yield
    OPTIMIZERS.unregister("averaged")


def test_an_optimizer_from_outside_the_package(averaged):
    """It sees dense gradients, has groups by name, and keeps what it likes."""
    program, sgd = program_of("averaged"), program_of("sgd")
    biases = {n: v.numpy() for n, v in program.weights.items() if n.endswith("bias")}
    take_steps(program, 1)
    take_steps(sgd, 1)
    for name, weight in program.weights.items():
        expected = biases[name] if name in biases else sgd.weights[name]
        np.testing.assert_allclose(weight, expected, rtol=1e-6, err_msg=name)
    variables = program.variables()
    assert variables["optimizer/steps"].numpy() == 1.0
    kept = variables["optimizer/embedding/sum"]
    np.testing.assert_array_equal(kept, program.weights["embedding"])


def test_what_it_keeps_is_in_the_checkpoint(averaged, made_up, tmp_path):
    train(tmp_path / "run", optimizer="averaged")
    arrays = RunFolder(tmp_path / "run").checkpoints.load("last").arrays
    assert {"optimizer/steps", "optimizer/embedding/sum"} <= set(arrays)
    results = train(tmp_path / "run", optimizer="averaged", max_max_epoch=3)
    assert results.finished  # it restores them


def test_memory_counts_what_it_keeps(averaged):
    plain, dense, kept = (
        memory.training_bytes(made_up_config(optimizer=name), 100, 0)
        for name in ("sgd", "momentum", "averaged")
    )
    weights = count_parameters(made_up_config().model, 100)
    assert kept == dense == plain + 4 * (weights + 100 * 4)
    with_l2 = memory.training_bytes(made_up_config(l2=0.1), 100, 0)
    assert with_l2 == plain + 4 * 100 * 4
