"""Trainings whose steps and scores are made up, so that they take no time."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.metrics import Score
from ptb_lm.system.progress import Progress
from ptb_lm.training import finish, trainer
from ptb_lm.training.step import TrainingProgram

WINDOWS = 12  # steps an epoch


def make_config(**values):
    """The options of a training of two epochs of `WINDOWS` steps."""
    defaults = {
        "hidden_size": 4,
        "num_layers": 1,
        "batch_size": 2,
        "num_steps": 3,
        "max_max_epoch": 2,
        "save_every_steps": 5,
        "log_every_steps": 2,
        "sample_tokens": 0,  # to trace them takes longer than all else together
    }
    return Config.from_values(defaults | values)


def make_corpus(seed=0, words="abcdefg"):
    """A corpus of that many windows; it has nothing to learn."""
    ids = np.random.default_rng(seed).integers(0, 7, 2 * (3 * WINDOWS + 1))
    splits = {name: ids.astype(np.int32) for name in ("train", "valid", "test")}
    return Corpus("made-up", splits, Vocabulary([*words, "<eos>"]))


@pytest.fixture
def made_up(monkeypatch):
    """Steps cost 1 nat a token and add 1 to a weight; valid as listed, then 1."""
    figures = {"valid": [], "step": lambda step: (6.0, 1.0)}

    def train_steps(self, batches, step, rates):
        taken = [figures["step"](step + index) for index in range(len(rates))]
        for index in range(len(rates)):
            self.weights["softmax_bias"].assign_add(tf.ones([8]))
            self.average.update(tf.constant(step + index, tf.int64))
        return (np.array([row[column] for row in taken]) for column in (0, 1))

    def tutorial(self, ids, batch_size, num_steps, after_chunk):
        after_chunk(10, 10)
        return Score((figures["valid"] or [1.0]).pop(0) * 10, 10)

    def exact(self, ids, after_chunk):
        after_chunk(10, 10)
        return Score(10.0, 10)

    monkeypatch.setattr(TrainingProgram, "train_steps", train_steps)
    monkeypatch.setattr(Evaluator, "tutorial", tutorial)
    monkeypatch.setattr(Evaluator, "exact", exact)
    monkeypatch.setattr(finish, "export_run", lambda *_: None)
    return figures


def train(path, corpus=None, progress=None, **values):
    """Trains in the folder, or goes on there; returns the results."""
    return trainer.train_and_evaluate(
        make_config(**values), corpus or make_corpus(), path, progress or Progress()
    )
