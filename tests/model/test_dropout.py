"""Dropout: what a mask covers, where it is, and what it is drawn from."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.model import LanguageModel
from ptb_lm.model.dropout import PLACES, SEQUENCE, STEP, place_name
from ptb_lm.registry import DROPOUTS
from tests.support import reference
from tests.support.arithmetic import BATCH, STEPS, VOCAB, reference_parameters

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


@pytest.mark.parametrize("name", DROPOUTS)
def test_in_a_graph_of_any_length(name):
    run = tf.function(
        lambda sequence: DROPOUTS[name](sequence, KEEP, SEED),
        input_signature=[tf.TensorSpec([None, None, 30])],
    )
    np.testing.assert_array_equal(run(tf.ones([7, 20, 30])), masks_of(DROPOUTS[name]))


def test_places():
    assert [place_name(index, 3) for index in range(4)] == [
        "input",
        "between",
        "between",
        "output",
    ]
    assert [place_name(index, 1) for index in range(2)] == ["input", "output"]
    assert {place_name(index, 2) for index in range(3)} == set(PLACES)


def drawn(name, seed, step, place, places, shape):
    """The mask of a place, written from the definition."""
    time = shape[0] if name == "step" else 1
    draws = tf.random.stateless_uniform(
        [time, *shape[1:]], [seed, step * places + place]
    )
    return np.broadcast_to(np.where(draws.numpy() < KEEP, 1 / KEEP, 0.0), shape)


@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("layers", [1, 3])
def test_masks_of_the_model(name, layers):
    """Place by place against NumPy; they depend on (seed, step, place)."""
    seed, step, hidden = 5, 11, 7
    model = LanguageModel(
        VOCAB,
        hidden,
        layers,
        keep_prob=KEEP,
        dropout=name,
        init_scale=0.5,
        seed=seed,
    )
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCAB, (BATCH, STEPS)).astype(np.int32)
    logits, state = model(ids, training=True, step=step)
    shape = STEPS, BATCH, hidden
    masks = [
        drawn(name, seed, step, place, layers + 1, shape) for place in range(layers + 1)
    ]
    params = reference_parameters(model.named_variables())
    expected = reference.language_model_loss(params, ids, ids, None, masks)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(state, expected.state, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    whole = reference.language_model_loss(params, ids, ids, None)
    without, _ = model(ids)
    np.testing.assert_allclose(without, whole.logits, rtol=1e-4, atol=1e-5)


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
