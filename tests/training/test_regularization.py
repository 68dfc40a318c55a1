"""Penalties on the last layer's outputs: their values, scale and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.model.language_model import Outputs
from ptb_lm.training.regularization import activation_penalty
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
from tests.support.made_up import train


def test_values_are_the_means_of_the_authors_code():
    """main.py of awd-lstm-lm: alpha h.pow(2).mean(), beta (h[1:] - h[:-1]).pow(2)."""
    rng = np.random.default_rng(0)
    raw, dropped = rng.normal(size=(2, 6, 3, 4))
    tensors = (tf.constant(array, tf.float32) for array in (raw, dropped))
    outputs = Outputs(None, [], *tensors)
    ar, tar = 2.0 * np.mean(dropped**2), 1.5 * np.mean((raw[1:] - raw[:-1]) ** 2)
    for options, expected in (
        ({"ar": 2.0}, ar),
        ({"tar": 1.5}, tar),
        ({"ar": 2.0, "tar": 1.5}, ar + tar),
    ):
        penalty = activation_penalty(outputs, make_config(**options).training)
        np.testing.assert_allclose(penalty, expected, rtol=1e-6)
    assert activation_penalty(outputs, make_config().training) is None


@pytest.mark.parametrize(
    "options",
    [
        {"ar": 2.0},
        {"tar": 1.5},
        {"ar": 2.0, "tar": 1.5, "loss_scale": "mean"},
        {"ar": 2.0, "tar": 1.5, "keep_prob_output": 0.6, "dropout": "sequence"},
        {"ar": 2.0, "tar": 1.5, "tied": True, "layer_sizes": "7,5"},
    ],
    ids=str,
)
def test_gradients(options):
    """Against float64; the nats that are reported have no penalty in them."""
    program = TrainingProgram(make_config(**options), VOCAB)
    params = reference_parameters(program.weights)
    inputs, targets = next(random_windows(1))
    step = tf.constant(4, tf.int64)
    nats, _, gradients = program.gradients(inputs, targets, step)
    scale = "mean" if options.get("loss_scale") else "sum_over_time"
    arguments = params, inputs, targets, None, [1.0, 1.0, mask_of(program, options)]
    tied = options.get("tied", False)
    plain = reference.language_model_loss(*arguments, tied, loss_scale=scale)
    expected = reference.language_model_loss(
        *arguments,
        tied,
        loss_scale=scale,
        ar=options.get("ar", 0.0),
        tar=options.get("tar", 0.0),
    )
    tokens = BATCH * STEPS if scale == "mean" else BATCH
    np.testing.assert_allclose(nats, plain.loss * tokens, rtol=1e-6)
    assert expected.loss > plain.loss
    dense = {n: tf.Variable(tf.convert_to_tensor(g)) for n, g in gradients.items()}
    for name, value in reference_parameters(dense).items():
        np.testing.assert_allclose(
            value, expected.gradients[name], rtol=1e-4, atol=1e-6, err_msg=name
        )


def mask_of(program, options):
    """The mask on the last layer's output at step 4, from its definition."""
    keep_prob = options.get("keep_prob_output", 1.0)
    seed = [program._config.seed, 4 * (program.model.options.num_layers + 1) + 2]
    draws = tf.random.stateless_uniform([1, BATCH, 7], seed).numpy()
    return np.where(draws < keep_prob, 1 / keep_prob, 0.0) if keep_prob < 1 else 1.0


@pytest.mark.parametrize("loss_scale", ["sum", "mean"])
def test_on_a_window_of_another_length_the_scale_is_that_of_num_steps(loss_scale):
    """A penalty beside the mean loss, times num_steps where the loss is a sum."""
    lengths = {"window_lengths": "random", "num_steps": 9}
    config = make_config(ar=2.0, tar=1.5, loss_scale=loss_scale, **lengths)
    program = TrainingProgram(config, VOCAB)
    params = reference_parameters(program.weights)
    inputs, targets = next(random_windows(1))  # of STEPS columns
    _, _, gradients = program.gradients(inputs, targets, tf.constant(0, tf.int64))
    expected = reference.language_model_loss(
        params, inputs, targets, None, loss_scale="mean", ar=2.0, tar=1.5
    )
    scale = 9 if loss_scale == "sum" else 1
    np.testing.assert_allclose(
        gradients["softmax_kernel"], scale * expected.gradients["softmax_w"], rtol=1e-4
    )
    np.testing.assert_allclose(
        gradients["lstm_1/bias"],
        scale * expected.gradients["bias_1"],
        rtol=1e-4,
        atol=1e-6,
    )


def test_a_single_time_step_has_no_neighbour(tmp_path):
    with pytest.raises(UserError, match=r"--tar=1\.0 compares neighbouring time steps"):
        train(tmp_path / "run", tar=1.0, num_steps=1)
    assert not (tmp_path / "run").exists()
