"""Learning rates: those of the published schedules, and a rate for every step."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.config import Config
from ptb_lm.registry import SCHEDULES
from ptb_lm.runs.folder import RunFolder
from ptb_lm.training.schedules import Schedule
from ptb_lm.training.step import TrainingProgram
from tests.support.arithmetic import VOCAB, make_config, random_windows
from tests.support.events import scores_of
from tests.support.made_up import WINDOWS, train


def rates(preset, *flags, windows=7):
    """The rate of each epoch's first step, all its steps having that rate."""
    training = run_ptb.parse([f"--model={preset}", *flags]).training
    schedule = SCHEDULES[training.schedule](training, windows)
    epochs = [
        schedule.rates(epoch * windows, windows, [])
        for epoch in range(training.max_max_epoch)
    ]
    for of_steps in epochs:
        assert of_steps.shape == (windows,) and of_steps.dtype == np.float64
        assert (of_steps == of_steps[0]).all()
    return [of_steps[0] for of_steps in epochs]


def test_learning_rates_of_the_published_table():
    """Zaremba's code: max_epoch + 1 epochs at the full rate, then 0.5 and so on."""
    assert rates("small") == [1.0] * 5 + [0.5**n for n in range(1, 9)]
    assert rates("medium")[:7] == [1.0] * 7
    assert rates("medium")[-1] == pytest.approx(0.8**32)
    assert rates("large")[14] == 1.0
    assert rates("large")[-1] == pytest.approx(1.15**-40)


def test_learning_rates_of_the_later_tutorial():
    """The rates that it prints: small halves after epoch 4."""
    found = rates("small", "--schedule=tutorial")
    assert found == [1.0] * 4 + [0.5**n for n in range(1, 10)]
    assert rates("large", "--schedule=tutorial")[13:15] == [
        1.0,
        pytest.approx(1 / 1.15),
    ]


def test_no_decay_when_every_epoch_is_early():
    training = dataclasses.replace(Config().training, max_epoch=50)
    schedule = SCHEDULES[training.schedule](training, 10)
    assert schedule.rate(129, []) == training.learning_rate


def test_every_step_has_its_own_rate():
    """Two steps in one call are two calls of one step."""
    windows = list(random_windows(2))
    weights = []
    for calls in ([[1.0, 0.25]], [[1.0], [0.25]], [[1.0, 1.0]]):
        program = TrainingProgram(make_config(), VOCAB)
        dataset = tf.data.Dataset.from_tensor_slices(
            tuple(np.stack(part) for part in zip(*windows, strict=True))
        )
        batches, step = iter(dataset), 0
        for call in calls:
            program.train_steps(batches, step, np.array(call))
            step += len(call)
        weights.append({n: v.numpy() for n, v in program.weights.items()})
    for name, expected in weights[0].items():
        assert weights[1][name].tobytes() == expected.tobytes(), name
        assert weights[2][name].tobytes() != expected.tobytes(), name


class Warmth(Schedule):
    """Rises by step, and falls with the valid perplexity of the epoch before."""

    def rates(self, first, count, history):
        factor = history[-1].valid_perplexity if history else 1.0
        return (first + 1 + np.arange(count)) * self.config.learning_rate / factor


def test_the_rate_of_a_step_is_that_of_its_epoch():
    """Whatever has been measured since."""
    schedule = Warmth(dataclasses.replace(Config().training, learning_rate=1.0), 10)
    history = [scores_of(1), scores_of(2)]
    perplexity = history[0].valid_perplexity
    for known in (history[:1], history):
        assert schedule.rate(9, known) == 10.0
        assert schedule.rate(14, known) == 15.0 / perplexity


@pytest.fixture
def warmth():
    SCHEDULES.register("warmth", Warmth, "made up here")
    yield
    SCHEDULES.unregister("warmth")


def test_a_schedule_from_outside_the_package(made_up, warmth, monkeypatch, tmp_path):
    """By step, and by what was measured; what is shown is the last step's rate."""
    seen = {}
    made_up_steps = TrainingProgram.train_steps

    def train_steps(self, batches, step, rates):
        seen.update(zip(range(step, step + len(rates)), rates.tolist(), strict=True))
        return made_up_steps(self, batches, step, rates)

    monkeypatch.setattr(TrainingProgram, "train_steps", train_steps)
    made_up["valid"] = [2.0, 3.0]
    results = train(tmp_path / "run", schedule="warmth", learning_rate=0.5)
    perplexity = results.epochs[0].valid_perplexity
    for step in range(2 * WINDOWS):
        factor = perplexity if step >= WINDOWS else 1.0
        assert seen[step] == pytest.approx((step + 1) * 0.5 / factor)
    shown = [scores.learning_rate for scores in results.epochs]
    assert shown == [seen[WINDOWS - 1], seen[2 * WINDOWS - 1]]
    assert RunFolder(tmp_path / "run").config().training.schedule == "warmth"
