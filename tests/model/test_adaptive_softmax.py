"""The adaptive softmax against NumPy, finite differences and PyTorch."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import ptb_lm
import run_ptb
from ptb_lm.config import ModelConfig
from ptb_lm.errors import UserError
from ptb_lm.model import LanguageModel
from ptb_lm.model.adaptive_softmax import AdaptiveSoftmax
from ptb_lm.model.sizes import count_parameters
from ptb_lm.training.checks import check_model_options
from ptb_lm.training.cost import token_flop
from tests.support.files import write_random_corpus

UNITS, VOCAB, CUTOFFS = 8, 23, (5, 11)


def make_model(seed=0, cutoffs=CUTOFFS, vocab_size=VOCAB, **options):
    return LanguageModel(
        vocab_size,
        UNITS,
        1,
        softmax="adaptive",
        softmax_cutoffs=",".join(map(str, cutoffs)),
        init_scale=0.8,
        seed=seed,
        **options,
    )


def weights_of(model):
    """Those of the softmax by name, float64."""
    return {
        name: variable.numpy().astype(np.float64)
        for name, variable in model.named_variables().items()
        if name.startswith(("softmax", "cluster", "projection"))
        or (model.options.tied and name == "embedding")
    }


def log_softmax(scores):
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def log_probabilities(weights, features, cutoffs=CUTOFFS):
    """log p of every token, [n, vocabulary], written from the equations."""
    embedding = weights.get("embedding")
    if embedding is None:
        scores = features @ weights["softmax_kernel"]
    else:
        rows = [embedding[: cutoffs[0]], weights["cluster_rows"]]
        scores = features @ np.concatenate(rows).T
    head = log_softmax(scores + weights["softmax_bias"])
    parts = [head[:, : cutoffs[0]]]
    for index, (begin, end) in enumerate(itertools.pairwise([*cutoffs, VOCAB])):
        if embedding is None:
            reduced = features @ weights[f"cluster_{index}_projection"]
            scores = reduced @ weights[f"cluster_{index}_kernel"]
        else:
            scores = features @ embedding[begin:end].T
        tail = log_softmax(scores + weights[f"cluster_{index}_bias"])
        parts.append(head[:, cutoffs[0] + index][:, None] + tail)
    return np.concatenate(parts, axis=1)


def random_problem(seed, rows=12):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, UNITS))
    return features, rng.integers(0, VOCAB, rows).astype(np.int32)


def test_names_and_shapes():
    """Each cluster's width is a fourth of that before, and at least 1."""
    found = {name: weight.shape for name, weight in weights_of(make_model()).items()}
    assert found == {
        "softmax_bias": (7,),
        "softmax_kernel": (8, 7),
        "cluster_0_projection": (8, 2),
        "cluster_0_kernel": (2, 6),
        "cluster_0_bias": (6,),
        "cluster_1_projection": (8, 1),
        "cluster_1_kernel": (1, 12),
        "cluster_1_bias": (12,),
    }


def test_names_and_shapes_where_tied():
    """A row of the embedding for each token, and one more for each cluster."""
    model = make_model(tied=True, embedding_size=5)
    found = {name: weight.shape for name, weight in weights_of(model).items()}
    assert found == {
        "embedding": (23, 5),
        "projection": (8, 5),
        "softmax_bias": (7,),
        "cluster_rows": (2, 5),
        "cluster_0_bias": (6,),
        "cluster_1_bias": (12,),
    }


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 12), tied=st.booleans())
def test_probabilities_of_all_tokens(seed, rows, tied):
    model, (features, targets) = make_model(seed, tied=tied), random_problem(seed, rows)
    expected = log_probabilities(weights_of(model), features)
    as_tensor = tf.constant(features, tf.float32)
    logits = model.logits(as_tensor)
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(logits), axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        model.token_nats(as_tensor, tf.constant(targets)),
        -expected[np.arange(rows), targets],
        atol=2e-5,
    )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("targets", ["of all", "frequent", "of the last cluster"])
def test_gradients(targets, tied):
    """Against finite differences of the reference; some clusters have no target."""
    model, (features, ids) = make_model(3, tied=tied), random_problem(4, rows=6)
    ids = {"of all": ids, "frequent": ids % 5, "of the last cluster": 11 + ids % 12}[
        targets
    ]
    variables = {n: v for n, v in model.named_variables().items() if "lstm" not in n}
    if not tied:
        del variables["embedding"]
    inputs = tf.constant(features, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(model.token_nats(inputs, tf.constant(ids)))
    found = tape.gradient(loss, variables | {"features": inputs})
    arrays = weights_of(model) | {"features": features}

    def reference_loss():
        logs = log_probabilities(arrays, arrays["features"])
        return -logs[np.arange(len(ids)), ids].sum()

    for name, array in arrays.items():
        expected = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            value, sides = array[place], []
            for shift in (1e-5, -1e-5):
                array[place] = value + shift
                sides.append(reference_loss())
            array[place] = value
            expected[place] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(
            found[name], expected, rtol=1e-3, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_pytorch(seed):
    torch = pytest.importorskip("torch")
    model, (features, targets) = make_model(seed), random_problem(seed)
    weights = weights_of(model)
    for index in range(2):  # PyTorch's clusters have no bias
        model.named_variables()[f"cluster_{index}_bias"].assign(
            tf.zeros_like(weights[f"cluster_{index}_bias"], tf.float32)
        )
    other = torch.nn.AdaptiveLogSoftmaxWithLoss(
        UNITS, VOCAB, list(CUTOFFS), div_value=4.0, head_bias=True
    )
    state = {
        "head.weight": weights["softmax_kernel"].T,
        "head.bias": weights["softmax_bias"],
    }
    for index in range(2):
        state[f"tail.{index}.0.weight"] = weights[f"cluster_{index}_projection"].T
        state[f"tail.{index}.1.weight"] = weights[f"cluster_{index}_kernel"].T
    other.load_state_dict({n: torch.tensor(v.copy()) for n, v in state.items()})
    logs = other(
        torch.tensor(features, dtype=torch.float32), torch.tensor(targets).long()
    ).output
    found = model.token_nats(tf.constant(features, tf.float32), tf.constant(targets))
    np.testing.assert_allclose(found, -logs.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_the_unigram_bias_gives_the_unigrams(tied):
    model = make_model(softmax_bias_init="unigram", tied=tied)
    counts = np.arange(VOCAB, 0, -1) ** 2
    model.set_unigram_bias(counts)
    logs = model.logits(tf.zeros([1, UNITS])).numpy()[0]
    np.testing.assert_allclose(np.exp(logs), (counts + 1) / (counts + 1).sum(), 1e-5)


def test_the_initial_rows_of_clusters_where_tied():
    """As --softmax_init says; 2,000 numbers, 5 standard deviations."""
    model = make_model(tied=True, embedding_size=1000, softmax_init="normal:0.02")
    rows = model.named_variables()["cluster_rows"].numpy()
    assert rows.shape == (2, 1000)
    assert np.std(rows) == pytest.approx(0.02, rel=5 / np.sqrt(2 * rows.size))


def test_cutoffs_beyond_the_vocabulary_are_left_out():
    assert set(weights_of(make_model(cutoffs=(5, 23, 50)))) == {
        "softmax_bias",
        "softmax_kernel",
        "cluster_0_projection",
        "cluster_0_kernel",
        "cluster_0_bias",
    }
    whole = make_model(cutoffs=(23,))
    assert set(weights_of(whole)) == {"softmax_bias", "softmax_kernel"}
    features, targets = random_problem(0)
    inputs = tf.constant(features, tf.float32), tf.constant(targets)
    for tied in (False, True):
        whole = make_model(cutoffs=(23,), tied=tied)
        full = LanguageModel(VOCAB, UNITS, 1, init_scale=0.8, tied=tied)
        np.testing.assert_array_equal(
            full.token_nats(*inputs), whole.token_nats(*inputs)
        )


@pytest.mark.parametrize("cutoffs", ["5,11", "5", "23"])
def test_the_class_knows_what_a_model_takes(cutoffs):
    options = ModelConfig(
        hidden_size=UNITS, num_layers=1, softmax="adaptive", softmax_cutoffs=cutoffs
    )
    places = tuple(map(int, cutoffs.split(",")))
    model = make_model(cutoffs=places)
    assert count_parameters(options, VOCAB) == model.count_params()
    for width in (UNITS, 5):
        tied = dataclasses.replace(options, tied=True, embedding_size=width)
        made = make_model(cutoffs=places, tied=True, embedding_size=width)
        assert count_parameters(tied, VOCAB) == made.count_params()
    weights = weights_of(model)
    head = weights["softmax_kernel"].size
    assert AdaptiveSoftmax.kept_floats(options, VOCAB) == head // UNITS
    tails = sum(v.size for n, v in weights.items() if n.startswith("cluster")) - sum(
        v.size for n, v in weights.items() if n.endswith("_bias") and "cluster" in n
    )
    found = AdaptiveSoftmax.multiply_adds(options, VOCAB)
    assert found == head if tails == 0 else head < found < head + tails


def test_multiply_adds_follow_zipfs_law():
    """Of 3 tokens with the shares 6, 3 and 2 of 11, the last two are a cluster."""
    options = ModelConfig(
        hidden_size=4, num_layers=1, softmax="adaptive", softmax_cutoffs="1"
    )
    products = 4 * 2 + 5 / 11 * (4 * 1 + 1 * 2)  # head; projection and kernel
    assert AdaptiveSoftmax.multiply_adds(options, 3) == pytest.approx(products)
    assert token_flop(options, 3) == round(6 * (2 * 4 * 4 * 4 + products))
    tied = dataclasses.replace(options, tied=True, embedding_size=5)
    products = 4 * 5 + 5 * 2 + 5 / 11 * 5 * 2  # projection, head and two rows
    assert AdaptiveSoftmax.multiply_adds(tied, 3) == pytest.approx(products)


@pytest.mark.parametrize(
    "options, problem",
    [
        (
            {"softmax": "adaptive", "tied": True, "softmax_reduction": 2},
            "no effect with --tied=true",
        ),
        ({"softmax_reduction": 2}, "it is for adaptive"),
        ({"softmax_cutoffs": "7"}, "it is for adaptive"),
    ],
)
def test_options_that_exclude_each_other(options, problem):
    with pytest.raises(UserError, match=problem):
        check_model_options(ModelConfig(**options))


@pytest.mark.parametrize("cutoffs", ["", "5,5", "7,3", "0", "x"])
def test_cutoffs_that_are_none(cutoffs):
    with pytest.raises(UserError, match="must be positive integers"):
        ModelConfig(softmax_cutoffs=cutoffs)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_a_run_trains_goes_on_and_exports(tmp_path, tied):
    """The SavedModel gives the probabilities of the run's own weights."""
    corpus, run = write_random_corpus(tmp_path / "corpus"), tmp_path / "run"
    command = [
        "--model=test",
        "--softmax=adaptive",
        "--softmax_cutoffs=3,6",
        f"--tied={str(tied).lower()}",
        f"--data_path={corpus}",
        f"--save_path={run}",
        "--hidden_size=8",
        "--batch_size=4",
        "--num_steps=3",
        "--sample_tokens=4",
    ]
    assert run_ptb.main(command) == 0
    assert run_ptb.main(["--max_max_epoch=2", f"--save_path={run}"]) == 0
    text = "w1 w2 w3"
    (scored,) = ptb_lm.load(run).score([text])
    exported = tf.saved_model.load(str(run / "saved_model"))
    found = exported.score(tf.constant([text + "\n"]), context="\n")
    np.testing.assert_allclose(scored.nats, -found["log_probabilities"][0], rtol=1e-5)
