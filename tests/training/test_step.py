"""The compiled loop on windows of different lengths."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.data.windows import RandomLengthWindows
from ptb_lm.errors import UserError
from ptb_lm.registry import CELLS
from ptb_lm.training.input_pipeline import WindowStream
from ptb_lm.training.step import TrainingProgram
from tests.support.arithmetic import BATCH, VOCAB, make_config
from tests.support.made_up import train

BASE, COUNT, RATE = 8, 5, 0.2


@pytest.fixture(scope="module")
def windows():
    ids = np.random.default_rng(5).integers(0, VOCAB, 600).astype(np.int32)
    return RandomLengthWindows(ids, BATCH, BASE, seed=2)


def train_on(program, windows, rates, one_by_one=False):
    """Takes the first steps of an epoch; returns nats and norms."""
    stream, found = WindowStream(windows).start_at(0, 0), []
    calls = np.split(rates, len(rates)) if one_by_one else [rates]
    step = 0
    for call in calls:
        found.append(program.train_steps(stream, step, call))
        step += len(call)
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def step_by_step(windows, loss_scale, rate_of):
    """The same with a fixed-length program for each window, which hands on all."""
    variables, found = None, []
    for step in range(COUNT):
        inputs, targets = windows.read(0, step)
        length = inputs.shape[1]
        config = make_config(
            num_steps=length, loss_scale=loss_scale, max_grad_norm=1e9, init_scale=0.1
        )
        program = TrainingProgram(config, VOCAB)
        for name, value in (variables or {}).items():
            program.variables()[name].assign(value)
        batches = iter(tf.data.Dataset.from_tensors((inputs, targets)))
        rate = np.array([rate_of(length)])
        found.append(program.train_steps(batches, step, rate)[0][0])
        variables = {n: v.numpy() for n, v in program.variables().items()}
    return np.array(found), variables


@pytest.mark.slow
@pytest.mark.parametrize("loss_scale", ["sum", "mean"])
def test_the_rate_is_scaled_by_the_length(windows, loss_scale):
    """A sum's own gradient has the length in it already; a mean's has not."""
    config = make_config(
        num_steps=BASE,
        window_lengths="random",
        loss_scale=loss_scale,
        max_grad_norm=1e9,
        init_scale=0.1,
    )
    program = TrainingProgram(config, VOCAB)
    nats, _ = train_on(program, windows, np.full(COUNT, RATE))
    lengths = {windows.read(0, n)[0].shape[1] for n in range(COUNT)}
    assert len(lengths) > 2

    def rate_of(length):
        return RATE * length / BASE if loss_scale == "mean" else RATE

    expected, variables = step_by_step(windows, loss_scale, rate_of)
    np.testing.assert_allclose(nats, expected, rtol=1e-5)
    for name, variable in program.variables().items():
        np.testing.assert_allclose(
            variable, variables[name], rtol=1e-4, atol=1e-6, err_msg=name
        )


@pytest.mark.slow
def test_the_clipped_norm_is_that_of_a_window_of_num_steps(windows):
    """At rate 0, for all weights stay: norm / num_steps is the mean loss's norm."""
    found = {}
    for loss_scale in ("sum", "mean"):
        config = make_config(
            num_steps=BASE, window_lengths="random", loss_scale=loss_scale
        )
        program = TrainingProgram(config, VOCAB)
        found[loss_scale] = train_on(program, windows, np.zeros(COUNT))[1]
    np.testing.assert_allclose(found["sum"], BASE * found["mean"], rtol=1e-5)


@pytest.mark.parametrize(
    "cell, rnn_mode",
    [
        ("rnn", "fused"),
        *(
            pytest.param(cell, mode, marks=pytest.mark.slow)
            for cell in CELLS
            for mode in ("fused", "keras")
            if (cell, mode) != ("rnn", "fused")
        ),
    ],
)
def test_one_graph_serves_all_lengths_and_calls(windows, cell, rnn_mode):
    config = make_config(
        num_steps=BASE,
        window_lengths="random",
        keep_prob=0.7,
        dropout="sequence",
        cell=cell,
        rnn_mode=rnn_mode,
    )
    one, many = (TrainingProgram(config, VOCAB) for _ in range(2))
    rates = np.full(COUNT, RATE)
    train_on(one, windows, rates, one_by_one=True)
    train_on(many, windows, rates)
    for name, variable in one.variables().items():
        assert variable.numpy().tobytes() == many.variables()[name].numpy().tobytes()
    assert one._compiled_loop.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"windows": "random", "num_steps": 9}, "--windows=random exclude each other"),
        ({"num_steps": 4}, "the shortest window has 5 tokens"),
    ],
)
def test_random_lengths_that_cannot_be(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", window_lengths="random", **options)
    assert not (tmp_path / "run").exists()


def test_a_training_of_unequal_epochs(made_up, tmp_path):
    """Steps of an epoch are its windows, whose number depends on the seed."""
    results = train(tmp_path / "run", window_lengths="random", num_steps=5)
    steps = [epoch.step for epoch in results.epochs]
    again = train(tmp_path / "again", window_lengths="random", num_steps=5, seed=2)
    assert steps != [epoch.step for epoch in again.epochs]
