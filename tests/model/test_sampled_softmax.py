"""The sampled softmax against TensorFlow's own, and its samples against their law."""

import numpy as np
import pytest
import tensorflow as tf

import ptb_lm
import run_ptb
from ptb_lm.config import ModelConfig
from ptb_lm.errors import UserError
from ptb_lm.model import LanguageModel
from ptb_lm.model.dropout import SeedAndStep
from ptb_lm.model.full_softmax import FullSoftmax, SampledSoftmax
from ptb_lm.model.losses import sampled_nats
from ptb_lm.training.checks import check_model_options
from tests.support.files import write_random_corpus

UNITS, VOCAB, ROWS = 6, 17, 9


def seed_of(step, seed=1):
    return SeedAndStep(tf.constant(seed, tf.int64), tf.constant(step, tf.int64))


def make_model(samples=8, tied=False, vocab_size=VOCAB):
    return LanguageModel(
        vocab_size,
        UNITS,
        1,
        softmax="sampled",
        softmax_samples=samples,
        tied=tied,
        init_scale=0.8,
    )


def last_weights(run):
    """Of the newest checkpoint, by name."""
    newest = max((run / "checkpoints").glob("last-*"))
    with np.load(newest) as arrays:
        return {name: arrays[name] for name in arrays if name.startswith("model/")}


def random_problem(seed, samples):
    rng = np.random.default_rng(seed)
    return {
        "features": tf.constant(rng.normal(size=(ROWS, UNITS)), tf.float32),
        "matrix": tf.constant(rng.normal(size=(VOCAB, UNITS)), tf.float32),
        "bias": tf.constant(rng.normal(size=VOCAB), tf.float32),
        "targets": tf.constant(rng.integers(0, VOCAB, ROWS), tf.int32),
        "samples": tf.constant(rng.permutation(VOCAB)[:samples], tf.int32),
        "expected": tf.constant(rng.uniform(0.1, 2.0, VOCAB), tf.float32),
    }


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("samples", [1, 5, VOCAB])
def test_losses_and_gradients_are_those_of_tensorflow(samples, tied):
    """Some samples are targets."""
    problem = random_problem(samples, samples)
    targets, drawn = problem["targets"], problem["samples"]
    expected = problem["expected"]
    variables = [problem[name] for name in ("features", "matrix", "bias")]

    def ours():
        features, matrix, bias = variables
        return sampled_nats(
            features,
            matrix if tied else tf.transpose(matrix),
            bias,
            targets,
            drawn,
            lambda ids: tf.math.log(tf.gather(expected, ids)),
            tied=tied,
        )

    def theirs():
        features, matrix, bias = variables
        true_expected = tf.gather(expected, targets)[:, None]
        values = tf.cast(drawn, tf.int64), true_expected, tf.gather(expected, drawn)
        return tf.nn.sampled_softmax_loss(
            matrix,
            bias,
            tf.cast(targets, tf.int64)[:, None],
            features,
            samples,
            VOCAB,
            sampled_values=values,
        )

    found = []
    for loss in ours, theirs:
        with tf.GradientTape() as tape:
            tape.watch(variables)
            nats = loss()
        gradients = tape.gradient(nats, variables)
        found.append([nats, *map(tf.convert_to_tensor, gradients)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_target_that_is_sampled_twice_is_left_out_twice():
    """And another token counts as often as it is sampled."""
    problem = random_problem(0, 1)
    nats = sampled_nats(
        problem["features"][:1],
        tf.transpose(problem["matrix"]),
        problem["bias"],
        tf.constant([3]),
        tf.constant([3, 5, 3, 5, 8]),
        lambda ids: tf.math.log(tf.gather(problem["expected"], ids)),
    )
    arrays = {name: array.numpy().astype(float) for name, array in problem.items()}
    scores = arrays["matrix"] @ arrays["features"][0] + arrays["bias"]
    parts = np.exp(scores) / arrays["expected"]
    share = parts[3] / (parts[3] + 2 * parts[5] + parts[8])
    np.testing.assert_allclose(nats, [-np.log(share)], rtol=1e-5)


def drawn_by(model, monkeypatch):
    """The samples of a training step, and the function that says how many to expect."""
    caught = []

    def catch(*arguments, **_):
        caught.extend(arguments[4:6])
        return tf.zeros_like(arguments[3], tf.float32)

    monkeypatch.setattr("ptb_lm.model.full_softmax.sampled_nats", catch)
    model.token_nats(tf.zeros([1, UNITS]), tf.constant([0]), seed_of(3))
    return caught[0].numpy(), caught[1]


def zipf_shares(vocab_size):
    """Q of every token."""
    ranks = np.arange(vocab_size)
    return np.log((ranks + 2) / (ranks + 1)) / np.log(vocab_size + 1)


@pytest.mark.parametrize("tied", [False, True])
def test_samples_follow_zipfs_law(tied, monkeypatch):
    """Each token comes as often as Q says, within 5 standard deviations."""
    count, shares = 200_000, zipf_shares(VOCAB)
    samples, log_expected = drawn_by(make_model(count, tied), monkeypatch)
    counts = np.bincount(samples, minlength=VOCAB)
    assert shares.sum() == pytest.approx(1)
    assert (abs(counts - count * shares) < 5 * np.sqrt(count * shares)).all()
    found = log_expected(tf.range(VOCAB))
    np.testing.assert_allclose(found, np.log(count * shares), rtol=1e-5)


def test_samples_reach_every_token_of_a_large_vocabulary(monkeypatch):
    """The rarest tenth of 800,000 tokens has as many different samples as Q says."""
    count, vocab_size = 2**22, 800_000
    model = make_model(count, vocab_size=vocab_size)
    samples, _ = drawn_by(model, monkeypatch)
    rarest = vocab_size * 9 // 10
    missing = np.exp(-count * zipf_shares(vocab_size)[rarest:])
    expected = (1 - missing).sum()
    deviation = np.sqrt((missing * (1 - missing)).sum())
    found = np.unique(samples[samples >= rarest]).size
    assert abs(found - expected) < 5 * deviation


def test_samples_depend_on_seed_and_step_alone():
    model = make_model()
    features = tf.random.stateless_normal([ROWS, UNITS], [1, 2])
    targets = tf.range(ROWS)

    def nats(*place):
        return model.token_nats(features, targets, seed_of(*place)).numpy()

    np.testing.assert_array_equal(nats(5), nats(5))
    assert (nats(5) != nats(6)).any()
    assert (nats(5) != nats(5, 2)).any()


def test_all_but_training_is_a_full_softmax():
    full = LanguageModel(VOCAB, UNITS, 1, init_scale=0.8)
    model = make_model()
    features = tf.random.stateless_normal([ROWS, UNITS], [1, 2])
    targets = tf.range(ROWS)
    for score in (
        lambda model: model.logits(features),
        lambda model: model.token_nats(features, targets),
    ):
        np.testing.assert_array_equal(score(model), score(full))
    for name, weight in full.named_variables().items():
        np.testing.assert_array_equal(model.named_variables()[name], weight)


def test_multiply_adds_are_those_of_target_and_samples():
    options = ModelConfig(hidden_size=4, softmax="sampled", softmax_samples=10)
    assert SampledSoftmax.multiply_adds(options, 1000) == 4 * 11
    assert SampledSoftmax.parameters(options, 1000) == 5 * 1000
    assert FullSoftmax.multiply_adds(options, 1000) == 4 * 1000


def test_the_number_of_samples_is_for_this_softmax():
    with pytest.raises(UserError, match="it is for sampled"):
        check_model_options(ModelConfig(softmax_samples=7))


@pytest.mark.slow
@pytest.mark.parametrize("tied", ["true", "false"])
def test_a_run_learns_and_goes_on_to_the_bit(tmp_path, tied):
    """Two epochs in one go, and one after the other, give the same weights."""
    corpus = write_random_corpus(tmp_path / "corpus")
    command = [
        "--model=test",
        "--softmax=sampled",
        "--softmax_samples=6",
        f"--tied={tied}",
        f"--data_path={corpus}",
        "--hidden_size=8",
        "--batch_size=4",
        "--num_steps=3",
        "--sample_tokens=4",
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_ptb.main([*command, f"--save_path={whole}", "--max_max_epoch=2"]) == 0
    assert run_ptb.main([*command, f"--save_path={parts}", "--max_max_epoch=1"]) == 0
    assert run_ptb.main([f"--save_path={parts}", "--max_max_epoch=2"]) == 0
    arrays = [last_weights(run) for run in (whole, parts)]
    assert arrays[0].keys() == arrays[1].keys() != set()
    for name, array in arrays[0].items():
        np.testing.assert_array_equal(array, arrays[1][name], err_msg=name)
    run = ptb_lm.load(whole)
    (scored,) = run.score(["w1 w2 w3"])
    exported = tf.saved_model.load(str(whole / "saved_model"))
    found = exported.score(tf.constant(["w1 w2 w3\n"]), context="\n")
    np.testing.assert_allclose(scored.nats, -found["log_probabilities"][0], rtol=1e-5)
