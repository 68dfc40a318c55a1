"""Each registry takes a member from outside the package, by registration alone.

A toy cell, softmax, optimizer, schedule, dropout, evaluation method, export format and
mode train, are resumed, evaluate and export by the command line.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm import registry
from ptb_lm.commands.mode import Mode
from ptb_lm.evaluation.plain import Plain
from ptb_lm.export.export_format import ExportFormat
from ptb_lm.model.cell import Cell
from ptb_lm.model.dropout import Dropout
from ptb_lm.model.full_softmax import FullSoftmax
from ptb_lm.runs.checkpoint import CheckpointFolder
from ptb_lm.runs.folder import RunFolder
from ptb_lm.training.optimizers.base import Optimizer
from ptb_lm.training.schedules import Schedule
from tests.support.files import write_random_corpus

CHOICES = "cell", "softmax", "optimizer", "schedule", "dropout"
pytestmark = pytest.mark.slow  # six commands, each with graphs of its own


class LeakyCell(keras.layers.Layer):
    """h = tanh(x W + h R + m[:1]), m = (m + mean of h) / 2: m is one number wide."""

    def __init__(self, units, **options):
        super().__init__()
        self.units, self._options = units, options
        self.state_size, self.output_size = [units, 1], units

    def build(self, shape):
        def weight(name, rows):
            return self.add_weight(
                shape=(rows, self.units),
                initializer=self._options["initializer"](),
                name=name,
            )

        self.kernel = weight("kernel", shape[-1])
        self.recurrent_kernel = weight("recurrent_kernel", self.units)

    def call(self, inputs, states):
        h, m = states
        h = tf.tanh(inputs @ self.kernel.value + h @ self.recurrent_kernel.value + m)
        m = (m + tf.reduce_mean(h, axis=1, keepdims=True)) / 2
        return h, [h, m]


class Leaky(Cell):
    """A cell without a kernel, whose state parts differ in size."""

    state_names = ("h", "m")
    weight_names = ("kernel", "recurrent_kernel")

    def make_layer(self, units, name, options):
        cell = LeakyCell(units, initializer=options.initializer)
        return keras.layers.RNN(
            cell, return_sequences=True, return_state=True, name=name
        )

    def parameters(self, width, units):
        return (width + units) * units

    def kept_floats(self, units):
        return units

    def state_sizes(self, units):
        return units, 1


class Bounded(FullSoftmax):
    """softmax(tanh(x) W + b)."""

    def features(self, outputs):
        return tf.tanh(super().features(outputs))


class SignDescent(Optimizer):
    """v -= rate sign(g + last g): a slot, and a count beside the slots."""

    slots = ("last",)

    def __init__(self, weights, config):
        super().__init__(weights, config)
        self.variables["updates"] = tf.Variable(0, trainable=False)

    def update(self, name, weight, gradient, rate, factor, step):
        last = self.slot(name, "last")
        weight.assign_sub(rate * tf.sign(gradient + last))
        last.assign(factor * gradient)
        self.variables["updates"].assign_add(1)


class Sawtooth(Schedule):
    """Falls within every epoch, and by what valid was before it."""

    def rates(self, first, count, history):
        done = (first.window + np.arange(count)) / first.windows
        worst = history[-1].valid_perplexity / 1000 if history else 0.0
        scale = self.config.learning_rate / (1 + worst)
        return scale * (1 - done)


class FirstRow(Dropout):
    """One mask for all rows and steps."""

    def mask_shape(self, shape):
        return tf.stack([1, 1, shape[2]])


class HalfUniform(Plain):
    """Half of what the model says, half a uniform distribution."""

    def __init__(self, model, config):
        super().__init__(model, config)
        self._size = model.vocab_size

    def score(self, inputs, targets):
        nats = super().score(inputs, targets)
        return -tf.math.log(0.5 * tf.exp(-nats) + 0.5 / self._size)


class Embedding(ExportFormat):
    """The embedding as text."""

    place = "embedding.txt"
    reader = "NumPy"

    def write(self, run, model, path):
        np.savetxt(path, run.weights["embedding"])

    def hint(self, path):
        return f"np.loadtxt({str(path)!r})"


def toy_mode(config):
    """Says what it was given."""
    print(f"toy mode of {config.run.save_path}")
    return 0


@pytest.fixture
def toys():
    """Registers a member of every kind."""
    members = {
        "CELLS": Leaky(),
        "SOFTMAXES": Bounded,
        "OPTIMIZERS": SignDescent,
        "SCHEDULES": Sawtooth,
        "DROPOUTS": FirstRow(),
        "METHODS": HalfUniform,
        "EXPORT_FORMATS": Embedding(),
        "MODES": Mode(toy_mode, reads=("save_path",)),
    }
    for kind, member in members.items():
        getattr(registry, kind).register("toy", member, "a toy")
    yield
    for kind in members:
        getattr(registry, kind).unregister("toy")


def arguments(corpus, run, *more):
    return [
        "--model=test",
        *(f"--{kind}=toy" for kind in CHOICES),
        f"--data_path={corpus}",
        f"--save_path={run}",
        "--hidden_size=5",
        "--num_layers=2",
        "--batch_size=6",
        "--num_steps=3",
        "--learning_rate=0.01",
        "--keep_prob=0.8",
        "--max_max_epoch=2",
        "--save_every_steps=7",
        *more,
    ]


def weights(run, kind="last"):
    return CheckpointFolder(run / "checkpoints").load(kind).arrays


def test_toys_of_every_kind(toys, tmp_path, capsys):
    corpus = write_random_corpus(tmp_path / "corpus")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run_ptb.main(arguments(corpus, whole)) == 0
    arrays = weights(whole)
    assert arrays["state/1/m"].shape == (6, 1)
    assert arrays["optimizer/updates"] > 0
    assert arrays["optimizer/embedding/last"].any()
    rates = [epoch.learning_rate for epoch in RunFolder(whole).read_results().epochs]
    assert 0 < rates[1] < rates[0] < 0.01

    _resumes_to_the_bit(corpus, cut, arrays)
    _evaluates_as_the_method_says(whole, capsys)
    _exports(whole, capsys)
    assert run_ptb.main(["--mode=toy", f"--save_path={whole}"]) == 0
    assert capsys.readouterr().out == f"toy mode of {whole}\n"
    assert run_ptb.main(["--mode=toy", f"--save_path={whole}", "--seed=2"]) == 2
    assert "--seed=2 has no effect with --mode=toy" in capsys.readouterr().err


def _resumes_to_the_bit(corpus, run, arrays):
    """A run that lost its last checkpoints goes on from an earlier one."""
    assert run_ptb.main(arguments(corpus, run, "--keep_checkpoints=9")) == 0
    (run / "results.json").unlink()
    lasts = sorted((run / "checkpoints").glob("last-*"))
    assert len(lasts) > 3
    for path in lasts[2:]:
        path.unlink()
    assert run_ptb.main(arguments(corpus, run)) == 0
    resumed = weights(run)
    assert resumed.keys() == arrays.keys()
    for name, array in arrays.items():
        assert resumed[name].tobytes() == array.tobytes(), name


def _evaluates_as_the_method_says(run, capsys):
    """Evaluate and score give the method's numbers."""
    capsys.readouterr()
    for method in ("plain", "toy"):
        command = ["--mode=score", f"--save_path={run}", "--text=w1 w2 w3"]
        command += ["--format=json", f"--method={method}"]
        assert run_ptb.main(command) == 0
    plain, toy = map(json.loads, capsys.readouterr().out.splitlines())
    size = len(RunFolder(run).vocabulary())
    for said, mixed in zip(plain["nats"][1:], toy["nats"][1:], strict=True):
        assert mixed == pytest.approx(-np.log(0.5 * np.exp(-said) + 0.5 / size))
    evaluate = ["--mode=evaluate", f"--save_path={run}", "--method=toy"]
    assert run_ptb.main(evaluate) == 0
    assert "perplexity" in capsys.readouterr().out


def _exports(run, capsys):
    """In a format of its own; and as a SavedModel with state parts of two sizes."""
    command = ["--mode=export", f"--save_path={run}", "--export_format=toy"]
    assert run_ptb.main(command) == 0
    assert "np.loadtxt" in capsys.readouterr().out
    written = np.loadtxt(run / "embedding.txt")
    np.testing.assert_allclose(written, weights(run, "best")["model/embedding"])
    model = tf.saved_model.load(str(run / "saved_model"))
    state = model.initial_state(3)["state"]
    assert state.shape == (3, 2 * (5 + 1))
    ids = tf.constant([[1, 2, 3]] * 3)
    at_once = model.step(ids, state)
    one, two = ids[:, :1], ids[:, 1:]
    state = model.step(one, state)["state"]
    np.testing.assert_allclose(
        model.step(two, state)["log_probabilities"],
        at_once["log_probabilities"][:, 1:],
        atol=1e-5,
    )
