"""Averages of weights: their formulas, when they begin, and who gets to see them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.metrics import Score
from ptb_lm.model.sizes import count_parameters
from ptb_lm.registry import AVERAGES
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system.interrupts import Interrupted
from ptb_lm.training import memory
from ptb_lm.training.step import TrainingProgram
from tests.support.arithmetic import VOCAB, make_config, random_windows
from tests.support.made_up import WINDOWS, train
from tests.support.made_up import make_config as made_up_config
from tests.support.results import EPOCHS


def history_of(perplexities):
    """An epoch of twelve steps for each valid perplexity."""
    return [
        type(EPOCHS[0])(number, 12 * number, 1.0, 9.0, perplexity, 1.0)
        for number, perplexity in enumerate(perplexities, start=1)
    ]


def iterates_and_means(name, count, start=0, **options):
    """Weights drawn at random, and the means after each, from float64 formulas on."""
    rng = np.random.default_rng(1)
    weights = {"a": tf.Variable(tf.zeros([2, 3])), "b": tf.Variable(tf.zeros([4]))}
    config = make_config(average=name, **options).training
    average = AVERAGES[name](weights, config)
    drawn, means = [], []
    update = tf.function(average.update, autograph=False)
    for step in range(count):
        if step == start:
            average.after_epoch(step, history_of([1.0] * 9 + [2.0]))
        drawn.append({n: rng.normal(size=w.shape) for n, w in weights.items()})
        for n, weight in weights.items():
            weight.assign(drawn[-1][n].astype(np.float32))
        update(tf.constant(step, tf.int64))
        means.append({n: v.numpy() for n, v in average.means.items()})
    return drawn, means


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_ema_is_corrected(decay):
    """a = d a + (1 - d) w from zero, over 1 - d^t."""
    drawn, means = iterates_and_means("ema", 7, average_decay=decay)
    for n in drawn[0]:
        a = 0.0
        for t, (weights, mean) in enumerate(zip(drawn, means, strict=True), start=1):
            a = decay * a + (1 - decay) * weights[n]
            np.testing.assert_allclose(mean[n], a / (1 - decay**t), rtol=2e-5)
    np.testing.assert_array_equal(means[0]["a"], drawn[0]["a"].astype(np.float32))


def test_nt_asgd_is_the_mean_since_its_start():
    drawn, means = iterates_and_means("nt_asgd", 9, start=3)
    for n in drawn[0]:
        assert not any(mean[n].any() for mean in means[:3])
        for step in range(3, 9):
            expected = np.mean([weights[n] for weights in drawn[3 : step + 1]], axis=0)
            np.testing.assert_allclose(means[step][n], expected, rtol=1e-5, atol=1e-7)


def test_no_average_has_nothing_to_keep():
    program = TrainingProgram(make_config(), VOCAB)
    assert not program.average.variables and not program.average.is_active(9)


def authors_trigger(losses, n):
    """The epoch, from 0, after which awd-lstm-lm/main.py switches to ASGD."""
    best_val_loss = []
    for epoch, val_loss in enumerate(losses):
        if len(best_val_loss) > n and val_loss > min(best_val_loss[:-n]):
            return epoch
        best_val_loss.append(val_loss)
    return None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [1, 2, 5])
def test_nt_asgd_starts_when_the_authors_code_does(n, seed):
    rng = np.random.default_rng(seed)
    losses = (5 - np.sqrt(np.arange(40)) / 3 + rng.normal(size=40) / 5).tolist()
    config = make_config(average="nt_asgd", nonmonotone=n).training
    average = AVERAGES["nt_asgd"]({}, config)
    history = history_of([math.exp(loss) for loss in losses])
    started = []
    for epoch in range(40):
        average.after_epoch(12 * (epoch + 1), history[: epoch + 1])
        started.append(average.variables["start"].numpy())
    trigger = authors_trigger(losses, n)
    assert trigger is not None
    assert started[:trigger] == [-1] * trigger
    assert started[trigger:] == [12 * (trigger + 1)] * (40 - trigger)


def batches_of(windows):
    parts = tuple(np.stack(part) for part in zip(*windows, strict=True))
    return iter(tf.data.Dataset.from_tensor_slices(parts))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_in_the_compiled_loop(optimizer):
    """Training is that without an average; the mean is that of its weights."""
    windows, weights = list(random_windows(4)), []
    plain = TrainingProgram(make_config(optimizer=optimizer), VOCAB)
    for step, window in enumerate(windows):
        plain.train_steps(batches_of([window]), step, np.array([0.1]))
        weights.append({n: v.numpy() for n, v in plain.weights.items()})
    config = make_config(optimizer=optimizer, average="ema", average_decay=0.6)
    program = TrainingProgram(config, VOCAB)
    program.train_steps(batches_of(windows), 0, np.full(4, 0.1))
    shares = 0.6 ** np.arange(3, -1, -1)
    for n, last in weights[-1].items():
        raw = program.weights[n].numpy()
        assert raw.tobytes() == last.tobytes(), n
        mean = sum(s * w[n] for s, w in zip(shares, weights, strict=True))
        with program.averaged(4):
            found = program.weights[n].numpy()
        np.testing.assert_allclose(found, mean / shares.sum(), rtol=1e-4, atol=1e-6)
        assert program.weights[n].numpy().tobytes() == raw.tobytes(), n


def test_training_after_a_swap_changes_the_raw_weights_alone():
    """References are swapped: what is trained next must not be shared."""
    config = make_config(average="ema", average_decay=0.6)
    swapped, other = (TrainingProgram(config, VOCAB) for _ in range(2))
    batches = [batches_of(list(random_windows(4))) for _ in range(2)]
    for step in range(0, 4, 2):
        for program, stream in zip((swapped, other), batches, strict=True):
            program.train_steps(stream, step, np.full(2, 0.1))
        with swapped.averaged(step + 2):
            pass
    for name, variable in other.variables().items():
        assert swapped.variables()[name].numpy().tobytes() == variable.numpy().tobytes()


def bias_of(path, kind="last"):
    return RunFolder(path).weights(kind)["softmax_bias"]


@pytest.fixture
def scored(made_up, monkeypatch):
    """The bias of the weights at each scoring of valid, less what it starts from."""
    seen, fresh = [], TrainingProgram(made_up_config(), 8).weights["softmax_bias"]

    def tutorial(self, ids, batch_size, num_steps, after_chunk):
        bias = self._method._model.named_variables()["softmax_bias"].numpy()
        seen.append(float((bias - fresh.numpy()).mean()))
        after_chunk(1, 1)
        return Score((made_up["valid"] or [1.0]).pop(0) * 10, 10)

    monkeypatch.setattr(Evaluator, "tutorial", tutorial)
    return seen, fresh.numpy()


def test_what_is_scored_saved_and_taken_over(made_up, scored, tmp_path):
    """Made-up steps add 1: after 12 steps the mean of the weights is + 6.5."""
    seen, fresh = scored
    made_up["valid"] = [1.0, 2.0, 2.0, 2.0, 1.0]
    options = {"average": "nt_asgd", "nonmonotone": 1, "max_max_epoch": 4}
    results = train(tmp_path / "run", **options)
    # Epoch 3 is worse than epoch 1; the mean begins in epoch 4.
    expected = [12.0, 24.0, 36.0, 42.5]
    assert results.best_epoch == 1
    assert seen == pytest.approx([*expected, 42.5, 12.0], abs=1e-4)
    last = RunFolder(tmp_path / "run").checkpoints.load("last")
    assert last.metadata["averaged"] is True
    np.testing.assert_allclose(last.arrays["model/softmax_bias"], fresh + 48, rtol=1e-5)
    np.testing.assert_allclose(bias_of(tmp_path / "run"), fresh + 42.5, rtol=1e-5)
    np.testing.assert_allclose(bias_of(tmp_path / "run", "best"), fresh + 12, rtol=1e-5)
    model = TrainedRun(tmp_path / "run", "last").model()
    np.testing.assert_array_equal(
        model.named_variables()["softmax_bias"], bias_of(tmp_path / "run")
    )


def test_init_from_takes_the_averaged_weights(made_up, scored, tmp_path):
    seen, fresh = scored
    train(tmp_path / "source", average="ema", average_decay=0.999999, max_max_epoch=1)
    assert seen[0] == pytest.approx(6.5, abs=1e-4)
    train(tmp_path / "run", init_from=str(tmp_path / "source"), max_max_epoch=1)
    found = bias_of(tmp_path / "run")
    np.testing.assert_allclose(found, fresh + 6.5 + WINDOWS, rtol=1e-5)


def test_interrupted_while_the_mean_is_scored(made_up, scored, monkeypatch, tmp_path):
    """What is saved are the raw weights, and the mean beside them."""
    whole = train(tmp_path / "whole", average="ema")
    with monkeypatch.context() as patched:

        def tutorial(self, *_):
            raise Interrupted(2)

        patched.setattr(Evaluator, "tutorial", tutorial)
        with pytest.raises(Interrupted):
            train(tmp_path / "run", average="ema")
    again = train(tmp_path / "run", average="ema")
    assert again.best_epoch == whole.best_epoch
    ours, theirs = (
        RunFolder(tmp_path / name).checkpoints.load("last").arrays
        for name in ("run", "whole")
    )
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"average_decay": 0.9}, "has no effect with --average=none; it is for ema"),
        ({"average": "ema", "nonmonotone": 3}, "it is for nt_asgd"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", **options)


def test_memory_counts_the_means():
    none, ema = (
        memory.training_bytes(made_up_config(average=name), 100, 0)
        for name in ("none", "ema")
    )
    weights = count_parameters(made_up_config().model, 100)
    assert ema == none + 4 * weights
