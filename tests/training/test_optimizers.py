"""What an optimizer keeps, and what it is given; the rules are in test_arithmetic."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.registry import OPTIMIZERS
from ptb_lm.training import memory
from ptb_lm.training.optimizers.base import Optimizer
from ptb_lm.training.step import TrainingProgram
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
    "optimizer, slots", [("sgd", []), ("momentum", ["momentum"]), ("adam", ["m", "v"])]
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


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("tied", [False, True])
def test_rows_that_are_not_read_move_only_where_the_gradient_is_dense(name, tied):
    """Of an untied embedding: at the second step, with Adam and momentum."""
    program = program_of(name, tied=tied)
    inputs = next(random_windows(1))[0]
    take_steps(program, 1)
    before = program.weights["embedding"].numpy()
    unread = np.setdiff1d(np.arange(VOCAB), inputs)
    assert unread.size
    take_steps(program, 2)  # the first of these windows is the one before
    moved = (program.weights["embedding"].numpy() != before).any(axis=1)
    assert moved.any()
    if tied:
        assert moved.all()


class Averaged(Optimizer):
    """SGD that remembers the mean of each weight and of nothing else, by name."""

    slots = ("sum",)

    def __init__(self, weights):
        super().__init__(weights)
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
    train(tmp_path / "run", optimizer="averaged")  # restores it


def test_memory_counts_what_it_keeps(averaged):
    plain, dense, kept = (
        memory.training_bytes(made_up_config(optimizer=name), 100, 0)
        for name in ("sgd", "momentum", "averaged")
    )
    weights = memory.count_parameters(made_up_config().model, 100)
    assert kept == dense == plain + 4 * (weights + 100 * 4)
