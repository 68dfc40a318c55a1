"""What the model asks its cell for; and a cell from outside the package."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.model import LanguageModel
from ptb_lm.model.cell import Cell, LayerOptions
from ptb_lm.model.dropout import SeedAndStep
from ptb_lm.model.sizes import count_parameters
from ptb_lm.registry import CELLS
from ptb_lm.training.step import TrainingProgram
from tests.support.arithmetic import VOCAB, make_config, random_windows
from tests.support.models import plain_evaluator

TRACE_SIZE = 3


class TraceCell(keras.layers.Layer):
    """A simple cell that also keeps a slow trace of what it says, three numbers.

    s_t = 0.9 s_{t-1} + h_{t-1} P;  h_t = tanh(x_t W + h_{t-1} R + s_t Q)
    """

    def __init__(self, units, initializers):
        super().__init__()
        self.units = units
        self.state_size = [units, TRACE_SIZE]
        self.output_size = units
        self.initializers = initializers

    def build(self, shape):
        shapes = {
            "kernel": (shape[-1], self.units),
            "recurrent_kernel": (self.units, self.units),
            "writing": (self.units, TRACE_SIZE),
            "reading": (TRACE_SIZE, self.units),
        }
        for initializer, (name, size) in zip(
            self.initializers, shapes.items(), strict=True
        ):
            weight = self.add_weight(shape=size, initializer=initializer, name=name)
            setattr(self, name, weight)

    def call(self, inputs, states):
        h, trace = states
        trace = 0.9 * trace + tf.matmul(h, self.writing)
        h = tf.tanh(
            tf.matmul(inputs, self.kernel)
            + tf.matmul(h, self.recurrent_kernel)
            + tf.matmul(trace, self.reading)
        )
        return h, [h, trace]


class Trace(Cell):
    """The facts of `TraceCell`: parts of two sizes, no kernel, no bias."""

    state_names = ("h", "trace")
    weight_names = ("kernel", "recurrent_kernel", "writing", "reading")

    def make_layer(self, units, name, options):
        cell = TraceCell(units, [options.initializer() for _ in self.weight_names])
        return keras.layers.RNN(
            cell, return_sequences=True, return_state=True, name=name
        )

    def state_sizes(self, units):
        return units, TRACE_SIZE

    def parameters(self, width, units):
        return units * (width + units + 2 * TRACE_SIZE)

    def kept_floats(self, units):
        return units + TRACE_SIZE


@contextlib.contextmanager
def registered(name, cell):
    CELLS.register(name, cell, "for a test")
    try:
        yield
    finally:
        CELLS.unregister(name)


@pytest.fixture(params=[*CELLS, "trace"])
def cell_name(request):
    """Every cell, and one from outside."""
    with contextlib.ExitStack() as stack:
        if request.param == "trace":
            stack.enter_context(registered("trace", Trace()))
        yield request.param


def test_the_facts_are_those_of_the_layers(cell_name):
    config = make_config(cell=cell_name)
    model = TrainingProgram(config, VOCAB).model
    cell, hidden = CELLS[cell_name], model.options.hidden_size
    for layer, parts in zip(model.recurrent_layers, model.state_parts, strict=True):
        assert [size for _, size in parts] == tf.nest.flatten(layer.state_size)
        assert cell.parameters(hidden, hidden) == layer.count_params()
        weights = cell.named_weights(layer).values()
        assert {id(w) for w in weights} == {id(w.value) for w in layer.weights}
    counted = count_parameters(config.model, VOCAB)
    assert counted == model.count_params()
    assert len(model.named_variables()) == len(model.weights)


def test_parameters_of_layers_that_are_wider_than_their_inputs(cell_name):
    options = LayerOptions(keras.initializers.Zeros)
    layer = CELLS[cell_name].make_layer(5, "layer", options)
    layer.build((None, None, 3))
    assert CELLS[cell_name].parameters(3, 5) == layer.count_params()


def test_names_of_weights_and_state():
    """Checkpoints of every version have these."""
    parts = {"lstm": ["h", "c"], "gru": ["h"], "rnn": ["h"]}
    for cell, names in parts.items():
        model = LanguageModel(9, 4, 2, cell=cell)
        layers = [
            f"{cell}_{index}/{part}"
            for index in range(2)
            for part in ("kernel", "recurrent_kernel", "bias")
        ]
        assert [*model.named_variables()] == [
            "embedding",
            *layers,
            "softmax_kernel",
            "softmax_bias",
        ]
        assert model.state_parts == [[(name, 4) for name in names]] * 2


def test_initial_state_has_the_sizes_of_each_layer():
    with registered("trace", Trace()):
        model = LanguageModel(9, 4, 2, cell="trace")
        shapes = tf.nest.map_structure(lambda p: p.shape, model.initial_state(5))
        assert shapes == [[(5, 4), (5, TRACE_SIZE)]] * 2


def test_a_cell_from_outside_the_package_trains():
    """Keras's own loop runs it, whatever rnn_mode says; no kernel is needed."""
    with registered("trace", Trace()):
        config = make_config(cell="trace", rnn_mode="fused", keep_prob=0.9)
        program = TrainingProgram(config, VOCAB)
        window = next(random_windows(1))
        batches = iter(tf.data.Dataset.from_tensors(window).repeat(40))
        before = [v.numpy() for v in program.weights.values()]
        nats, _ = program.train_steps(batches, 0, np.full(40, 0.3))
        assert nats[-1] < 0.7 * nats[0]
        for old, new in zip(before, program.weights.values(), strict=True):
            assert not np.array_equal(old, new), "every weight is trained"
        names = {name for name in program.weights if name.startswith("trace_1/")}
        assert names == {f"trace_1/{name}" for name in Trace.weight_names}


def test_a_cell_from_outside_the_package_carries_its_state():
    """In chunks of a few tokens as in one, and so the score."""
    with registered("trace", Trace()):
        model = LanguageModel(VOCAB, 6, 2, cell="trace", init_scale=0.7)
        ids = np.random.default_rng(2).integers(0, VOCAB, 30).astype(np.int32)
        whole, pieces = (plain_evaluator(model, size).exact(ids) for size in (64, 4))
        np.testing.assert_allclose(pieces.nats, whole.nats, rtol=1e-6)
        logits, _ = model(ids[None])
        cut, state = model(ids[None, :9])
        rest, _ = model(ids[None, 9:], state)
        both = np.concatenate([cut, rest], axis=1)
        np.testing.assert_allclose(both, logits, rtol=1e-5, atol=1e-6)
        alone, _ = model(ids[None, 9:])
        assert not np.allclose(alone, rest)


def test_no_such_cell():
    with pytest.raises(UserError, match="--cell=trace: must be one of lstm, gru, rnn"):
        LanguageModel(9, 4, 1, cell="trace")


def test_outputs_of_the_last_layer_before_and_after_dropout():
    """What activation regularization reads; nothing else is computed for it."""
    model = LanguageModel(VOCAB, 6, 2, keep_prob=0.5, init_scale=0.7, seed=4)
    ids = np.random.default_rng(2).integers(0, VOCAB, (5, 3)).astype(np.int32)
    embedded, state = model.embed(ids), model.initial_state(3)
    seeds = SeedAndStep(tf.constant(4, tf.int64), tf.constant(7, tf.int64))
    outputs = model.outputs(embedded, state, seeds)
    features, final = model.features(embedded, state, seeds)
    np.testing.assert_array_equal(outputs.features, features)
    np.testing.assert_array_equal(outputs.dropped, features)
    for ours, theirs in zip(*map(tf.nest.flatten, (outputs.state, final)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    kept = outputs.dropped != 0
    assert 0.2 < np.mean(kept) < 0.8
    np.testing.assert_array_equal(outputs.dropped[kept], 2 * outputs.raw[kept])
    np.testing.assert_array_equal(outputs.raw[-1], final[-1][0], "h of the last layer")
    without = model.outputs(embedded, state)
    assert without.dropped is without.raw
