"""Training that does not fit in memory is refused before anything is begun."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.model.language_model import build_model
from ptb_lm.model.sizes import count_parameters
from ptb_lm.system import memory as system_memory
from ptb_lm.system.progress import Progress
from ptb_lm.training import memory, trainer
from ptb_lm.training.step import TrainingProgram
from tests.support.made_up import make_config, make_corpus


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layers, hidden, vocab", [(1, 1, 1), (2, 5, 11), (3, 4, 30)])
def test_parameters_are_those_of_the_model(cell, tied, layers, hidden, vocab):
    values = {"tied": tied, "num_layers": layers, "hidden_size": hidden, "cell": cell}
    config = Config.from_values(values)
    counted = count_parameters(config.model, vocab)
    assert counted == build_model(config, vocab).count_params()


def test_large_has_the_published_size():
    large = run_ptb.parse(["--model=large"])
    assert count_parameters(large.model, 10_000) == 66_022_000
    # By hand: SGD keeps weights once, and all gradients but the embedding's.
    floats = 2 * 66_022_000 - 15_000_000 + 700 * 1500 * 13 + 2048 * 10_000
    assert memory.training_bytes(large, 10_000, 2048) == 4 * floats


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_no_less_than_the_variables(optimizer):
    """The estimate is never below what is kept between steps."""
    config = make_config(optimizer=optimizer)
    kept = TrainingProgram(config, 8).variables()
    held = sum(v.numpy().nbytes for n, v in kept.items() if not n.startswith("state/"))
    assert held <= memory.training_bytes(config, 8, 0)


@pytest.mark.parametrize(
    "option",
    [f"--hidden_size={2**31 - 1}", f"--num_layers={2**31 - 1}", "--num_steps=1"],
)
def test_a_model_that_cannot_fit(tmp_path, capsys, monkeypatch, option):
    """One line, and no run folder."""
    if option == "--num_steps=1":
        monkeypatch.setattr(system_memory, "available_bytes", lambda: 10**6)
    command = ["--model=test", f"--save_path={tmp_path}/run", option]
    assert run_ptb.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("run_ptb.py: a model of ")
    assert "GB of memory" in line and "--hidden_size" in line
    assert not (tmp_path / "run").exists()


def test_memory_that_ends_in_mid_run(made_up, tmp_path):
    """One line; what was saved before stays."""

    def step(number):
        if number == 7:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when\nallocating")
        return 6.0, 1.0

    made_up["step"] = step
    with pytest.raises(UserError, match=r"^out of memory: OOM when$"):
        trainer.train_and_evaluate(
            make_config(), make_corpus(), tmp_path / "run", Progress()
        )
    assert np.all([*(tmp_path / "run" / "checkpoints").glob("last-00000005-*")])


def test_memory_error(capsys, monkeypatch):
    from ptb_lm.commands import train

    def run(config):
        raise MemoryError

    monkeypatch.setattr(train, "MODE", dataclasses.replace(train.MODE, run=run))
    assert run_ptb.main(["--model=test"]) == 2
    assert capsys.readouterr().err == "run_ptb.py: out of memory\n"
