"""Dropout: what a mask covers, where it is, and what it is drawn from."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ptb_lm.config import Config, ModelConfig
from ptb_lm.errors import UserError
from ptb_lm.model import LanguageModel
from ptb_lm.model.dropout import (
    SEQUENCE,
    STEP,
    Dropout,
    ModelDropout,
    Rows,
    SeedAndStep,
    weight_mask,
)
from ptb_lm.registry import CELLS, DROPOUTS
from ptb_lm.training.step import TrainingProgram
from tests.support import reference
from tests.support.arithmetic import (
    BATCH,
    STEPS,
    VOCAB,
    make_config,
    random_windows,
    reference_parameters,
)

KEEP = 0.6
SEED = tf.constant([3, 8], tf.int64)


def masks_of(kind, shape=(7, 20, 30)):
    return kind(tf.ones(shape), KEEP, SEED).numpy()


@pytest.mark.parametrize("name", DROPOUTS)
def test_what_is_kept_is_scaled(name):
    masks = masks_of(DROPOUTS[name])
    kept = np.float32(1) / np.float32(KEEP)
    assert set(np.unique(masks)) == {np.float32(0), kept}
    draws = {"step": 7 * 20 * 30, "sequence": 20 * 30}[name]
    deviation = np.sqrt(KEEP * (1 - KEEP) / draws)
    assert abs((masks > 0).mean() - KEEP) < 4 * deviation


@pytest.mark.parametrize("name", DROPOUTS)
def test_the_seed_decides(name):
    kind, ones = DROPOUTS[name], tf.ones([2, 3, 50])
    np.testing.assert_array_equal(kind(ones, KEEP, SEED), kind(ones, KEEP, SEED))
    assert not np.array_equal(kind(ones, KEEP, SEED), kind(ones, KEEP, SEED + 1))


def test_a_step_has_a_mask_of_its_own():
    masks = masks_of(STEP)
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[:, 0], masks[:, 1])


def test_all_steps_of_a_sequence_have_one_mask():
    masks = masks_of(SEQUENCE)
    np.testing.assert_array_equal(masks, np.broadcast_to(masks[:1], masks.shape))
    assert not np.array_equal(masks[:, 0], masks[:, 1]), "rows have masks of their own"


class OneForAllRows(Dropout):
    """A kind from outside the package: the rows share a mask."""

    def mask_shape(self, shape):
        return tf.stack([shape[0], 1, shape[2]])


@pytest.mark.parametrize("kind", [STEP, SEQUENCE, OneForAllRows()])
@pytest.mark.parametrize("count", [1, 4, 20])
def test_rows_have_the_masks_of_the_whole_batch(kind, count):
    """So it does not matter how many devices share the batch."""
    part = tf.ones([7, count, 30])
    parts = [
        kind(part, KEEP, SEED, Rows(tf.constant(first), count, 20))
        for first in range(0, 20, count)
    ]
    np.testing.assert_array_equal(tf.concat(parts, axis=1), masks_of(kind))


@pytest.mark.parametrize("name", DROPOUTS)
def test_in_a_graph_of_any_length(name):
    run = tf.function(
        lambda sequence: DROPOUTS[name](sequence, KEEP, SEED),
        input_signature=[tf.TensorSpec([None, None, 30])],
    )
    np.testing.assert_array_equal(run(tf.ones([7, 20, 30])), masks_of(DROPOUTS[name]))


PROBABILITIES = {"input": 0.8, "between": 0.6, "output": 0.5}


def drawn(name, keep_prob, seed, number, shape):
    """A mask, written from the definition."""
    time = shape[0] if name == "step" else 1
    draws = tf.random.stateless_uniform([time, *shape[1:]], [seed, number])
    return np.broadcast_to(np.where(draws.numpy() < keep_prob, 1 / keep_prob, 0), shape)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("layers", [1, 3])
def test_masks_of_the_model(name, layers, own):
    """Place by place against NumPy; they depend on (seed, step, place)."""
    seed, step, hidden = 5, 11, 7
    places = ["input", *["between"] * (layers - 1), "output"]
    options = {f"keep_prob_{p}": v for p, v in PROBABILITIES.items()} if own else {}
    model = LanguageModel(
        VOCAB,
        hidden,
        layers,
        keep_prob=KEEP,
        dropout=name,
        init_scale=0.5,
        seed=seed,
        **options,
    )
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCAB, (BATCH, STEPS)).astype(np.int32)
    logits, state = model(ids, training=True, step=step)
    masks = [
        drawn(
            name,
            PROBABILITIES[place] if own else KEEP,
            seed,
            step * (layers + 1) + index,
            (STEPS, BATCH, hidden),
        )
        for index, place in enumerate(places)
    ]
    params = reference_parameters(model.named_variables())
    expected = reference.language_model_loss(params, ids, ids, None, masks)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(state, expected.state, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    whole = reference.language_model_loss(params, ids, ids, None)
    without, _ = model(ids)
    np.testing.assert_allclose(without, whole.logits, rtol=1e-4, atol=1e-5)


def test_one_place_may_drop_alone():
    """And 1 switches off at a place what --keep_prob switches on."""
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    options = {"keep_prob": KEEP, "init_scale": 0.5}
    off = {f"keep_prob_{place}": 1.0 for place in PROBABILITIES}
    whole, _ = LanguageModel(9, 4, 2, **options)(ids)
    found, _ = LanguageModel(9, 4, 2, **options, **off)(ids, training=True)
    np.testing.assert_array_equal(found, whole)
    for place in PROBABILITIES:
        model = LanguageModel(9, 4, 2, **options, **off | {f"keep_prob_{place}": KEEP})
        assert not np.array_equal(model(ids, training=True)[0], whole), place


def gradients_of(options, seed=3, step=11):
    """Program, a window, its nats and its gradients by the reference's names."""
    program = TrainingProgram(make_config(seed=seed, **options), VOCAB)
    inputs, targets = next(random_windows(1))
    nats, _, gradients = program.gradients(inputs, targets, tf.constant(step, tf.int64))
    dense = {n: tf.Variable(tf.convert_to_tensor(g)) for n, g in gradients.items()}
    return program, inputs, targets, nats, reference_parameters(dense)


@pytest.mark.parametrize("tied", [False, True])
def test_words(tied):
    """A word is dropped wherever it occurs; a tied softmax has them all."""
    options = {"tied": tied, "keep_prob_embedding": KEEP}
    program, inputs, targets, nats, gradients = gradients_of(options)
    draws = tf.random.stateless_uniform([VOCAB], [3, -1 - 11 * 3])
    of_words = np.where(draws.numpy() < KEEP, 1 / KEEP, 0.0)
    assert {0.0, 1 / KEEP} == set(of_words[inputs.ravel()])
    masks = [of_words[inputs.T][..., None], 1.0, 1.0]
    params = reference_parameters(program.weights)
    expected = reference.language_model_loss(
        params, inputs, targets, None, masks, tied=tied
    )
    np.testing.assert_allclose(nats, expected.loss * BATCH, rtol=1e-6)
    for name, value in expected.gradients.items():
        np.testing.assert_allclose(
            gradients[name], value, rtol=1e-4, atol=1e-6, err_msg=name
        )
    logits, _ = program.model(inputs, training=True, step=11)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-4, atol=1e-5)
    whole = reference.language_model_loss(params, inputs, targets, None, tied=tied)
    np.testing.assert_allclose(
        program.model(inputs)[0], whole.logits, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("rnn_mode", ["fused", "keras"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_recurrent_weights(cell, rnn_mode):
    """The dropped ones serve every time step, and have no gradient."""
    options = {"cell": cell, "rnn_mode": rnn_mode, "keep_prob_recurrent": KEEP}
    program, inputs, targets, nats, gradients = gradients_of(options)
    params = reference_parameters(program.weights)
    masks = {}
    for layer in (1, 2):
        name = f"recurrent_kernel_{layer - 1}"
        seed = tf.constant([3, -1 - (11 * 3 + layer)], tf.int64)
        masks[name] = weight_mask(params[name].shape, KEEP, seed).numpy()
        params[name] = params[name] * masks[name]
    assert not np.array_equal(*masks.values())
    expected = reference.language_model_loss(params, inputs, targets, None, cell=cell)
    np.testing.assert_allclose(nats, expected.loss * BATCH, rtol=1e-6)
    for name, value in expected.gradients.items():
        np.testing.assert_allclose(
            gradients[name],
            value * masks.get(name, 1.0),
            rtol=1e-4,
            atol=1e-6,
            err_msg=name,
        )
    kept = [v.numpy() for n, v in program.weights.items() if "recurrent" in n]
    assert all(kernel.all() for kernel in kept), "the weights themselves are whole"


@pytest.mark.parametrize("rnn_mode", ["fused", "keras"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_weights_of_every_cell(cell, rnn_mode):
    """As if the weights were what the masks leave of them."""
    ids = np.arange(12, dtype=np.int32).reshape(3, 4)
    options = {"cell": cell, "rnn_mode": rnn_mode, "init_scale": 0.7, "seed": 5}
    model = LanguageModel(12, 6, 2, keep_prob_recurrent=KEEP, **options)
    logits, _ = model(ids, training=True, step=4)
    other = LanguageModel(12, 6, 2, **options)
    for layer in (1, 2):
        kernel = other.named_variables()[f"{cell}_{layer - 1}/recurrent_kernel"]
        seed = tf.constant([5, -1 - (4 * 3 + layer)], tf.int64)
        kernel.assign(kernel * weight_mask(kernel.shape, KEEP, seed))
    np.testing.assert_allclose(logits, other(ids)[0], rtol=1e-5, atol=1e-6)


def test_without_training_all_recurrent_weights_are_there():
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    model = LanguageModel(9, 4, 2, keep_prob_recurrent=KEEP)
    whole = LanguageModel(9, 4, 2)
    np.testing.assert_array_equal(model(ids)[0], whole(ids)[0])
    assert not np.array_equal(model(ids, training=True)[0], whole(ids)[0])


@pytest.mark.parametrize("keep_prob", [0.5, 0.6, 1 / 256, 1e-9, 1 - 1e-9])
@pytest.mark.parametrize("shape", [(40, 160), (7, 3)])
def test_mask_of_weights(keep_prob, shape):
    """Two values, of mean 1; as many are kept as should be."""
    mask = weight_mask(shape, keep_prob, SEED).numpy()
    assert mask.shape == shape and mask.dtype == np.float32
    probability = np.clip(round(keep_prob * 2**16), 1, 2**16 - 1) / 2**16
    assert abs(probability - keep_prob) <= 1 / 2**16
    scale = np.float32(1 / probability)
    assert set(np.unique(mask)) <= {np.float32(0), scale}
    deviation = np.sqrt(probability * (1 - probability) / mask.size)
    assert abs((mask > 0).mean() - probability) < 4 * deviation + 1 / mask.size
    np.testing.assert_array_equal(mask, weight_mask(shape, keep_prob, SEED))
    if keep_prob in (0.5, 0.6):
        other = weight_mask(shape, keep_prob, SEED + 1).numpy()
        assert not np.array_equal(mask, other)


def test_elements_of_a_mask_are_independent():
    """Bits are cut out of longer words: neighbours have nothing in common."""
    for keep_prob in (0.5, 0.6):
        mask = weight_mask((300, 400), keep_prob, SEED).numpy().ravel() > 0
        for distance in range(1, 9):
            both = np.mean(mask[:-distance] & mask[distance:])
            assert abs(both - keep_prob**2) < 4 * 0.5 / np.sqrt(mask.size), distance


@given(
    steps=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    layers=st.integers(1, 5),
)
def test_no_two_masks_have_one_seed(steps, layers):
    """Of two steps, all places of sequences, words and weights."""
    drop = ModelDropout(ModelConfig(num_layers=layers), VOCAB, CELLS["lstm"])
    seeds = [
        tuple(
            drop._mask_seed(
                SeedAndStep(np.int64(7), np.int64(step)), place, is_of_weights
            )
        )
        for step in set(steps)
        for place in range(layers + 1)
        for is_of_weights in (False, True)
    ]
    assert len({tuple(map(int, seed)) for seed in seeds}) == len(seeds)


def test_a_cell_without_such_weights(monkeypatch):
    monkeypatch.setattr(CELLS["rnn"], "weight_names", ("kernel", "bias"))
    with pytest.raises(UserError, match="the cell rnn has no recurrent_kernel"):
        LanguageModel(9, 4, 1, cell="rnn", keep_prob_recurrent=0.5)


def test_the_kind_is_saved(tmp_path):
    model = LanguageModel(9, 4, 1, keep_prob=KEEP, dropout="sequence")
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.options.dropout == "sequence"
    np.testing.assert_array_equal(
        loaded(ids, training=True, step=2)[0], model(ids, training=True, step=2)[0]
    )


def test_files_from_before_there_were_kinds():
    """A model.keras and a flags.txt without the option mean a mask at every step."""
    config = LanguageModel(9, 4, 1, keep_prob=KEEP).get_config()
    del config["dropout"]
    assert LanguageModel.from_config(config).options.dropout == "step"
    assert Config.from_text("--keep_prob=0.5\n", "flags.txt").model.dropout == "step"


def test_no_such_kind():
    with pytest.raises(UserError, match="--dropout=never: must be one of step, seq"):
        LanguageModel(9, 4, 1, dropout="never")
