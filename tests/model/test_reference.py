"""Tests of the NumPy reference: finite differences, and the stock Keras layers."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import reference

TIME, BATCH, IN, HIDDEN, VOCAB = 4, 2, 5, 3, 7

# name -> (cell, reset_after, width of the kernels in hidden sizes, bias shape)
LAYERS = {
    "lstm": ("lstm", None, 4, (4 * HIDDEN,)),
    "gru_reset_after": ("gru", True, 3, (2, 3 * HIDDEN)),
    "gru_reset_before": ("gru", False, 3, (3 * HIDDEN,)),
    "rnn": ("rnn", None, 1, (HIDDEN,)),
}


def numeric_gradient(function, array, step=1e-3):
    """The derivative of function() by each element of array, changed in place.

    Central differences of fourth order: the error is of order step^4 (1e-12) and
    that of rounding 1e-16 / step, so elements near zero can be held to a relative
    1e-6 as well.
    """
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        at = {}
        for k in (-2, -1, 1, 2):
            array[index] = value + k * step
            at[k] = function()
        array[index] = value
        gradient[index] = (at[-2] - 8 * at[-1] + 8 * at[1] - at[2]) / (12 * step)
    return gradient


def assert_close(actual, expected):
    """Equal to a relative 1e-6; the absolute term is the noise of the differences."""
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=2e-11)


def layer_arguments(name, seed=0):
    """Random x, initial states and weights, in the order of the forward functions."""
    cell, _, width, bias_shape = LAYERS[name]
    rng = np.random.default_rng(seed)
    shapes = [(TIME, BATCH, IN)]
    shapes += [(BATCH, HIDDEN)] * reference.CELLS[cell][2]
    shapes += [(IN, width * HIDDEN), (HIDDEN, width * HIDDEN), bias_shape]
    return [rng.normal(scale=0.5, size=shape) for shape in shapes]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_gradients_are_the_finite_differences(name):
    forward, backward, states, _ = reference.CELLS[LAYERS[name][0]]
    arguments = layer_arguments(name)
    rng = np.random.default_rng(1)
    d_outputs = rng.normal(size=(TIME, BATCH, HIDDEN))
    d_last = [rng.normal(size=(BATCH, HIDDEN)) for _ in range(states)]

    def objective():
        outputs, last, _ = forward(*arguments)
        return np.sum(outputs * d_outputs) + sum(
            np.sum(s * d) for s, d in zip(last, d_last, strict=True)
        )

    gradients = backward(d_outputs, *d_last, forward(*arguments)[2])
    assert len(gradients) == len(arguments)
    for gradient, argument in zip(gradients, arguments, strict=True):
        assert_close(gradient, numeric_gradient(objective, argument))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_keras(name):
    cell, reset_after, _, _ = LAYERS[name]
    kind = {
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
        "rnn": keras.layers.SimpleRNN,
    }[cell]
    options = {} if reset_after is None else {"reset_after": reset_after}
    _, *state, kernel, recurrent, bias = arguments = layer_arguments(name)
    layer = kind(
        HIDDEN, return_sequences=True, return_state=True, dtype="float64", **options
    )
    layer.build((BATCH, TIME, IN))
    layer.set_weights([kernel, recurrent, bias])
    variables = [tf.constant(argument) for argument in arguments[: 1 + len(state)]]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        inputs = tf.transpose(variables[0], [1, 0, 2])
        keras_outputs, *keras_last = layer(inputs, initial_state=variables[1:])
        total = tf.reduce_sum(keras_outputs**2) + sum(
            tf.reduce_sum(last**3) for last in keras_last
        )
    keras_gradients = tape.gradient(total, [*variables, *layer.trainable_variables])

    forward, backward, _, _ = reference.CELLS[cell]
    outputs, last, cache = forward(*arguments)
    gradients = backward(2 * outputs, *[3 * s**2 for s in last], cache)
    np.testing.assert_allclose(
        outputs.swapaxes(0, 1), keras_outputs, rtol=1e-12, atol=1e-14
    )
    assert len(last) == len(keras_last)
    for ours, theirs in zip(last, keras_last, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    for ours, theirs in zip(gradients, keras_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def test_layer_without_time_steps_returns_its_state():
    x, h0, c0, *weights = layer_arguments("lstm")
    outputs, (h, c), _ = reference.lstm_forward(x[:0], h0, c0, *weights)
    assert outputs.shape == (0, BATCH, HIDDEN)
    assert np.array_equal(h, h0)
    assert np.array_equal(c, c0)


def make_model(cell="lstm", tied=False, reset_after=True, masked=True, seed=0):
    """Parameters, ids, targets, state and masks of a small two-layer model."""
    rng = np.random.default_rng(seed)
    params = reference.random_parameters(
        rng, VOCAB, HIDDEN, 2, tied=tied, cell=cell, reset_after=reset_after, scale=0.7
    )
    # Id 0 is never looked up, and others are more than once.
    ids = rng.integers(1, VOCAB, size=(BATCH, TIME))
    targets = rng.integers(0, VOCAB, size=(BATCH, TIME))
    state = [
        tuple(rng.normal(scale=0.5, size=part.shape) for part in layer)
        for layer in reference.zero_state(params, BATCH, cell)
    ]
    keep_prob = 0.6
    masks = [
        (rng.random((TIME, BATCH, HIDDEN)) < keep_prob) / keep_prob for _ in range(3)
    ]
    return params, ids, targets, state, masks if masked else None


@pytest.mark.parametrize("loss_scale", ["sum_over_time", "mean"])
@pytest.mark.parametrize("tied", [False, True])
def test_lstm_model_gradients_are_the_finite_differences(tied, loss_scale):
    check_model_gradients("lstm", tied, True, loss_scale)


@pytest.mark.parametrize("penalties", [{"ar": 2.0}, {"tar": 1.5}], ids=str)
@pytest.mark.parametrize("loss_scale", ["sum_over_time", "mean"])
def test_gradients_of_penalties_are_the_finite_differences(loss_scale, penalties):
    check_model_gradients("lstm", True, True, loss_scale, **penalties)


@pytest.mark.parametrize(
    ("cell", "reset_after"), [("gru", True), ("gru", False), ("rnn", True)]
)
def test_other_model_gradients_are_the_finite_differences(cell, reset_after):
    check_model_gradients(cell, False, reset_after, "sum_over_time")


def check_model_gradients(cell, tied, reset_after, loss_scale, **penalties):
    params, ids, targets, state, masks = make_model(cell, tied, reset_after)

    def run():
        return reference.language_model_loss(
            params, ids, targets, state, masks, tied, cell, loss_scale, **penalties
        )

    gradients = run().gradients
    assert gradients.keys() == params.keys()
    assert ("softmax_w" in params) != tied
    for name, array in params.items():
        numeric = numeric_gradient(lambda: run().loss, array)
        assert_close(gradients[name], numeric)


def test_model_equals_keras_layers():
    params, ids, targets, state, masks = make_model()
    result = reference.language_model_loss(params, ids, targets, state, masks)
    embedding = tf.Variable(params["embedding"])
    layers = []
    for layer in range(2):
        lstm = keras.layers.LSTM(
            HIDDEN, return_sequences=True, return_state=True, dtype="float64"
        )
        lstm.build((BATCH, TIME, HIDDEN))
        names = [f"kernel_{layer}", f"recurrent_kernel_{layer}", f"bias_{layer}"]
        lstm.set_weights([params[name] for name in names])
        layers.append(lstm)
    softmax_w = tf.Variable(params["softmax_w"])
    softmax_b = tf.Variable(params["softmax_b"])
    with tf.GradientTape() as tape:
        x = tf.nn.embedding_lookup(embedding, ids) * masks[0].swapaxes(0, 1)
        last = []
        for lstm, start, mask in zip(layers, state, masks[1:], strict=True):
            x, *final = lstm(x, initial_state=[tf.constant(part) for part in start])
            x = x * mask.swapaxes(0, 1)
            last.append(final)
        logits = x @ softmax_w + softmax_b
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        loss = tf.reduce_sum(tf.reduce_mean(nats, axis=0))
    weights = [embedding]
    for lstm in layers:
        weights += lstm.trainable_variables
    gradients = tape.gradient(loss, [*weights, softmax_w, softmax_b])

    np.testing.assert_allclose(result.logits, logits, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-12)
    np.testing.assert_allclose(result.state, np.array(last), rtol=1e-12, atol=1e-14)
    for name, theirs in zip(params, gradients, strict=True):
        theirs = tf.convert_to_tensor(theirs)
        np.testing.assert_allclose(
            result.gradients[name], theirs, rtol=1e-10, atol=1e-13, err_msg=name
        )


def test_loss_scales_differ_by_the_number_of_steps():
    arguments = make_model()
    summed = reference.language_model_loss(*arguments)
    mean = reference.language_model_loss(*arguments, loss_scale="mean")
    np.testing.assert_allclose(summed.loss, TIME * mean.loss, rtol=1e-14)
    for name, gradient in summed.gradients.items():
        np.testing.assert_allclose(gradient, TIME * mean.gradients[name], rtol=1e-12)


def test_uniform_model_costs_log_vocab_per_token():
    params, ids, targets, state, _ = make_model()
    params["softmax_w"][...] = 0
    params["softmax_b"][...] = 3.0
    result = reference.language_model_loss(params, ids, targets, state)
    np.testing.assert_allclose(result.loss, TIME * np.log(VOCAB), rtol=1e-14)


def test_unused_words_have_no_embedding_gradient():
    arguments = make_model()
    result = reference.language_model_loss(*arguments)
    assert not result.gradients["embedding"][0].any()
    assert result.gradients["embedding"][arguments[1][0, 0]].any()


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_two_windows_with_carried_state_equal_one(cell):
    params, ids, targets, state, _ = make_model(cell)
    whole = reference.language_model_loss(params, ids, targets, state, cell=cell)
    first = reference.language_model_loss(
        params, ids[:, :1], targets[:, :1], state, cell=cell
    )
    second = reference.language_model_loss(
        params, ids[:, 1:], targets[:, 1:], first.state, cell=cell
    )
    joined = np.concatenate([first.logits, second.logits], axis=1)
    np.testing.assert_allclose(joined, whole.logits, rtol=1e-12)
    np.testing.assert_allclose(first.loss + second.loss, whole.loss, rtol=1e-12)
    np.testing.assert_allclose(second.state, whole.state, rtol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_perplexity_exact_equals_one_long_window(tied):
    params = make_model(tied=tied)[0]
    stream = np.random.default_rng(3).integers(0, VOCAB, size=11)
    nats, count = reference.perplexity_exact(params, stream, tied=tied)
    whole = reference.language_model_loss(
        params, stream[None, :-1], stream[None, 1:], None, tied=tied
    )
    assert count == 10
    np.testing.assert_allclose(nats, whole.loss, rtol=1e-12)


@pytest.mark.parametrize("max_norm", [0.1, 1e3])
def test_clip_by_global_norm_equals_tensorflow(max_norm):
    gradients = reference.language_model_loss(*make_model()).gradients
    clipped, norm = reference.clip_by_global_norm(gradients, max_norm)
    theirs, their_norm = tf.clip_by_global_norm(list(gradients.values()), max_norm)
    np.testing.assert_allclose(norm, their_norm, rtol=1e-12)
    for ours, other in zip(clipped.values(), theirs, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-12)
    assert (norm > max_norm) == (max_norm == 0.1)


def test_clip_by_global_norm_of_three_and_four_is_five():
    grads = {"a": np.array([3.0]), "b": np.array([[4.0]])}
    clipped, norm = reference.clip_by_global_norm(grads, 1.0)
    assert norm == 5.0
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0, 0]], [0.6, 0.8])


def optimizer_run(step):
    """Five steps along given gradients, the learning rate falling by the step."""
    rng = np.random.default_rng(4)
    start = rng.normal(size=(3, 2))
    gradients = rng.normal(size=(5, 3, 2))
    params, slots = {"w": start.copy()}, None
    for index, gradient in enumerate(gradients):
        params, slots = step(params, {"w": gradient}, slots, 0.1 / (index + 1))
    return start, gradients, params["w"]


def test_sgd_equals_tensorflow():
    start, gradients, ours = optimizer_run(
        lambda params, grads, slots, lr: (reference.sgd_step(params, grads, lr), slots)
    )
    var = tf.Variable(start)
    for index, gradient in enumerate(gradients):
        tf.raw_ops.ResourceApplyGradientDescent(
            var=var.handle,
            alpha=tf.constant(0.1 / (index + 1), tf.float64),
            delta=gradient,
        )
    np.testing.assert_allclose(ours, var, rtol=1e-12)


def test_momentum_equals_tensorflow():
    start, gradients, ours = optimizer_run(reference.momentum_step)
    var, accum = tf.Variable(start), tf.Variable(tf.zeros_like(start))
    for index, gradient in enumerate(gradients):
        tf.raw_ops.ResourceApplyMomentum(
            var=var.handle,
            accum=accum.handle,
            lr=tf.constant(0.1 / (index + 1), tf.float64),
            grad=gradient,
            momentum=tf.constant(0.9, tf.float64),
        )
    np.testing.assert_allclose(ours, var, rtol=1e-12)


def test_adam_equals_tensorflow():
    start, gradients, ours = optimizer_run(reference.adam_step)
    var = tf.Variable(start)
    m, v = tf.Variable(tf.zeros_like(start)), tf.Variable(tf.zeros_like(start))
    for index, gradient in enumerate(gradients):
        scalars = {
            "beta1_power": 0.9 ** (index + 1),
            "beta2_power": 0.999 ** (index + 1),
            "lr": 0.1 / (index + 1),
            "beta1": 0.9,
            "beta2": 0.999,
            "epsilon": 1e-8,
        }
        scalars = {k: tf.constant(value, tf.float64) for k, value in scalars.items()}
        tf.raw_ops.ResourceApplyAdam(
            var=var.handle, m=m.handle, v=v.handle, grad=gradient, **scalars
        )
    np.testing.assert_allclose(ours, var, rtol=1e-11)


def test_adamw_without_decay_is_adam():
    """But for epsilon, which the two add in another place."""
    adamw = functools.partial(reference.adamw_step, decay=0.0, eps=0.0)
    adam = functools.partial(reference.adam_step, eps=0.0)
    found, expected = (optimizer_run(rule)[2] for rule in (adamw, adam))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_adamw_equals_pytorch():
    torch = pytest.importorskip("torch")
    constants = {"beta1": 0.8, "beta2": 0.99, "eps": 1e-3}
    rule = functools.partial(reference.adamw_step, decay=0.3, **constants)
    start, gradients, ours = optimizer_run(rule)
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = torch.optim.AdamW(
        [weight], betas=(0.8, 0.99), eps=1e-3, weight_decay=0.3
    )
    for index, gradient in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = 0.1 / (index + 1)
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(ours, weight.detach(), rtol=1e-11)


def test_optimizers_leave_their_inputs_alone():
    params, grads = {"w": np.ones(2)}, {"w": np.full(2, 0.5)}
    reference.sgd_step(params, grads, 1.0)
    _, slots = reference.momentum_step(params, grads, None, 1.0)
    reference.momentum_step(params, grads, slots, 1.0)
    _, slots_adam = reference.adam_step(params, grads, None, 1.0)
    reference.adam_step(params, grads, slots_adam, 1.0)
    reference.clip_by_global_norm(grads, 0.1)
    assert np.array_equal(params["w"], [1, 1])
    assert np.array_equal(grads["w"], [0.5, 0.5])
    assert np.array_equal(slots["accum"]["w"], [0.5, 0.5])
    assert slots_adam["t"] == 1


def test_learning_rate_of_the_small_preset():
    rates = [reference.learning_rate(epoch, 1.0, 0.5, 4) for epoch in range(7)]
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125]


def test_batches_by_hand():
    # The stream of the tutorial's own reader_test.py.
    got = list(reference.batches([4, 3, 2, 1, 0, 5, 6, 1, 1, 1, 1, 0, 3, 4, 1], 3, 2))
    assert got == [
        ([[4, 3], [5, 6], [1, 0]], [[3, 2], [6, 1], [0, 3]]),
        ([[2, 1], [1, 1], [3, 4]], [[1, 0], [1, 1], [4, 1]]),
    ]


def test_batches_drop_the_tail_of_the_stream_and_of_the_rows():
    # 11 ids in 2 rows of 5; one window of 3 fits in the 4 predictions of a row.
    assert list(reference.batches(range(11), 2, 3)) == [
        ([[0, 1, 2], [5, 6, 7]], [[1, 2, 3], [6, 7, 8]])
    ]


def test_batches_without_a_window_is_an_error():
    with pytest.raises(ValueError, match="no window"):
        next(reference.batches(range(6), 2, 3))
