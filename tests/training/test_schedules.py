"""Learning rates: those of the published schedules, and a rate for every step."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.registry import SCHEDULES
from ptb_lm.runs.folder import RunFolder
from ptb_lm.training.schedules import Schedule, StepPosition
from ptb_lm.training.step import TrainingProgram
from tests.support.arithmetic import VOCAB, make_config, random_windows
from tests.support.events import scores_of
from tests.support.made_up import WINDOWS, train
from tests.support.results import EPOCHS


def rates(preset, *flags, windows=7):
    """The rate of each epoch's first step, all its steps having that rate."""
    training = run_ptb.parse([f"--model={preset}", *flags]).training
    schedule = SCHEDULES[training.schedule](training)
    epochs = [
        schedule.rates(StepPosition(epoch * windows, epoch, 0, windows), windows, [])
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
    schedule = SCHEDULES[training.schedule](training)
    assert schedule.rate(StepPosition(129, 12, 9, 10), []) == training.learning_rate


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


def all_rates(schedule, windows=4, epochs=5, history=(), **options):
    """The rate of every step, epochs taken in calls of one and of several steps."""
    options = {"learning_rate": 2.0, "max_max_epoch": epochs} | options
    training = make_config(schedule=schedule, **options).training
    member, found = SCHEDULES[schedule](training), []
    for epoch in range(epochs):
        step, past = epoch * windows, history[:epoch]
        whole = member.rates(StepPosition(step, epoch, 0, windows), windows, past)
        positions = [StepPosition(step + n, epoch, n, windows) for n in range(windows)]
        # One by one, and beginning anywhere: what a resumed run asks for.
        for n, position in enumerate(positions):
            assert member.rate(position, history) == whole[n]
            rest = member.rates(position, windows - n, past)
            assert rest.tobytes() == whole[n:].tobytes()
        found += whole.tolist()
    return found


def test_constant():
    assert all_rates("constant") == [2.0] * 20


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine(final):
    """The closed form over all 20 steps, the first of them at the full rate."""
    expected = [
        2.0 * (final + (1 - final) * 0.5 * (1 + np.cos(np.pi * step / 20)))
        for step in range(20)
    ]
    found = all_rates("cosine", final_rate=final)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == 2.0


@pytest.mark.parametrize("final", [0.0, 0.25])
def test_linear_after_a_warm_up(final):
    """A fifth of 20 steps up, then 16 steps down."""
    up = [2.0 * step / 4 for step in (1, 2, 3, 4)]
    down = [2.0 * (final + (1 - final) * (1 - step / 16)) for step in range(16)]
    found = all_rates("linear", warmup=0.2, final_rate=final)
    np.testing.assert_allclose(found, up + down, rtol=1e-12)


def test_one_cycle():
    """Three tenths up from a 25th of the rate in a line, the rest down in a cosine."""
    up = [2.0 * (1 / 25 + 24 / 25 * step / 6) for step in range(1, 7)]
    down = [2.0 * 0.5 * (1 + np.cos(np.pi * step / 14)) for step in range(14)]
    found = all_rates("one_cycle", warmup=0.3)
    np.testing.assert_allclose(found, up + down, rtol=1e-12)
    assert max(found) == 2.0


def test_an_epoch_is_an_equal_share_however_many_windows_it_has():
    training = make_config(schedule="linear", max_max_epoch=4).training
    schedule = SCHEDULES["linear"](training)
    for windows in (2, 10):
        rates = schedule.rates(StepPosition(99, 2, 0, windows), windows, [])
        np.testing.assert_allclose(rates[0], 0.5)
        np.testing.assert_allclose(rates[windows // 2], 0.375)


@pytest.mark.parametrize(
    "patience, valid, decays",
    [
        (1, [9, 8, 8, 7, 7.5, 7.2, 6], [0, 0, 0, 1, 1, 2, 3]),
        (2, [9, 8, 8, 8.5, 8.1, 8.2, 7], [0, 0, 0, 0, 1, 1, 2]),
        (2, [9, 10, 8, 9, 7, 7, 7], [0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_plateau(patience, valid, decays):
    """As good as the best is not better; after a decay the count begins anew."""
    history = [
        dataclasses.replace(EPOCHS[0], epoch=number, valid_perplexity=float(perplexity))
        for number, perplexity in enumerate(valid, start=1)
    ]
    found = all_rates(
        "plateau", epochs=7, history=history, patience=patience, lr_decay=0.5
    )
    expected = [2.0 * 0.5**n for n in decays for _ in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_options_without_effect_are_refused(tmp_path):
    with pytest.raises(UserError, match="it is for linear, cosine, one_cycle"):
        train(tmp_path / "run", warmup=0.1)


def test_one_cycle_must_rise(tmp_path):
    """Without a rise it would be the cosine."""
    with pytest.raises(UserError, match="say for how much"):
        train(tmp_path / "run", schedule="one_cycle")


class Warmth(Schedule):
    """Rises by step, and falls with the valid perplexity of the epoch before."""

    def rates(self, first, count, history):
        factor = history[-1].valid_perplexity if history else 1.0
        return (first.step + 1 + np.arange(count)) * self.config.learning_rate / factor


def test_the_rate_of_a_step_is_that_of_its_epoch():
    """Whatever has been measured since."""
    schedule = Warmth(dataclasses.replace(Config().training, learning_rate=1.0))
    history = [scores_of(1), scores_of(2)]
    perplexity = history[0].valid_perplexity
    for known in (history[:1], history):
        assert schedule.rate(StepPosition(9, 0, 9, 10), known) == 10.0
        assert schedule.rate(StepPosition(14, 1, 4, 10), known) == 15.0 / perplexity


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
