"""The model, the loss, the gradients and three training steps against NumPy.

`reference.py` is float64 and knows nothing of this project.
"""

import numpy as np
import pytest
import tensorflow as tf

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


@pytest.mark.parametrize("cell", reference.CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_logits_and_state(tied, cell):
    program = TrainingProgram(make_config(tied=tied, cell=cell), VOCAB)
    params = reference_parameters(program.model.named_variables())
    state, expected_state = None, None
    for inputs, targets in random_windows(2):
        logits, state = program.model(inputs, state)
        expected = reference.language_model_loss(
            params, inputs, targets, expected_state, tied=tied, cell=cell
        )
        expected_state = expected.state
        np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=2e-6)
        for ours, theirs in zip(state, expected.state, strict=True):
            for part, expected_part in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(part, expected_part, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_three_training_steps(tied, optimizer):
    """Loss, gradient norm and weights, with clipping and carried state."""
    rate = 1.0 if optimizer == "sgd" else 0.05
    decay = 0.1 if optimizer == "adamw" else 0.0
    config = make_config(tied=tied, optimizer=optimizer, weight_decay=decay)
    program = TrainingProgram(config, VOCAB)
    params = reference_parameters(program.weights)
    state, slots = None, None
    for step, (inputs, targets) in enumerate(random_windows(3)):
        batches = iter(tf.data.Dataset.from_tensors((inputs, targets)))
        nats, norms = program.train_steps(batches, step, np.array([rate]))
        expected = reference.language_model_loss(
            params, inputs, targets, state, tied=tied
        )
        state = expected.state
        clipped, norm = reference.clip_by_global_norm(
            expected.gradients, config.training.max_grad_norm
        )
        assert norm > config.training.max_grad_norm, "clipping is not exercised"
        np.testing.assert_allclose(nats, [expected.loss * BATCH], rtol=1e-6)
        np.testing.assert_allclose(norms, [norm], rtol=1e-5)
        if optimizer == "sgd":
            params = reference.sgd_step(params, clipped, rate)
        elif optimizer == "momentum":
            params, slots = reference.momentum_step(params, clipped, slots, rate)
        elif optimizer == "adam":
            params, slots = reference.adam_step(params, clipped, slots, rate)
        else:
            params, slots = reference.adamw_step(params, clipped, slots, rate, decay)
    # Adam and AdamW divide by the root of the second moment, which magnifies rounding.
    tolerance = 2e-4 if optimizer.startswith("adam") else 3e-6
    for name, value in reference_parameters(program.weights).items():
        np.testing.assert_allclose(
            value, params[name], rtol=1e-5, atol=tolerance, err_msg=name
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True},
        {"loss_scale": "mean"},
        {"cell": "gru", "loss_scale": "mean"},
        {"cell": "rnn", "tied": True},
    ],
    ids=str,
)
def test_gradients(options):
    """Every gradient of one window, before clipping; and the state after it."""
    program = TrainingProgram(make_config(**options), VOCAB)
    params = reference_parameters(program.weights)
    inputs, targets = next(random_windows(1))
    step = tf.constant(0, tf.int64)
    nats, state, gradients = program.gradients(inputs, targets, step)
    scale = {"mean": "mean"}.get(options.get("loss_scale"), "sum_over_time")
    expected = reference.language_model_loss(
        params,
        inputs,
        targets,
        None,
        tied=options.get("tied", False),
        cell=options.get("cell", "lstm"),
        loss_scale=scale,
    )
    tokens = {"mean": STEPS, "sum_over_time": 1}[scale] * BATCH
    np.testing.assert_allclose(nats, expected.loss * tokens, rtol=1e-6)
    for ours, theirs in zip(state, expected.state, strict=True):
        for part, expected_part in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(part, expected_part, rtol=1e-5, atol=1e-6)
    dense = {
        name: tf.Variable(tf.convert_to_tensor(g)) for name, g in gradients.items()
    }
    for name, value in reference_parameters(dense).items():
        np.testing.assert_allclose(
            value, expected.gradients[name], rtol=1e-4, atol=1e-6, err_msg=name
        )


def test_random_windows_start_from_a_zero_state():
    """The second of two equal windows has the first's loss, at rate 0."""
    program = TrainingProgram(make_config(windows="random"), VOCAB)
    window = next(random_windows(1))
    batches = iter(tf.data.Dataset.from_tensors(window).repeat(2))
    nats, _ = program.train_steps(batches, 0, np.zeros(2))
    assert nats[0] == nats[1]


def test_forget_bias():
    """It is the bias of the second gate, and no other."""
    program = TrainingProgram(make_config(forget_bias=1.5), VOCAB)
    hidden = program.model.options.hidden_size
    expected = np.repeat([0.0, 1.5, 0.0, 0.0], hidden)
    for index in range(program.model.options.num_layers):
        np.testing.assert_array_equal(program.weights[f"lstm_{index}/bias"], expected)


@pytest.mark.parametrize(
    "preset, parameters",
    [("small", 4_651_600), ("medium", 19_775_200), ("large", 66_022_000)],
)
def test_parameter_counts(preset, parameters):
    import run_ptb
    from ptb_lm.model.language_model import build_model

    config = run_ptb.parse([f"--model={preset}"])
    assert build_model(config, 10_000).count_params() == parameters
