"""The functions of a live model: their numbers, and their errors."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.inference import scoring
from ptb_lm.inference.opening import told_by
from ptb_lm.inference.state_layout import StateLayout
from ptb_lm.inference.text_model import FORMAT, TextModel
from ptb_lm.model.language_model import LanguageModel
from tests.support import reference
from tests.support.arithmetic import reference_parameters
from tests.support.models import (
    VOCABULARY,
    make_text_model,
    plain_evaluator,
    random_text,
)

# --- score -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [1, 2, 30, pytest.param(3000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("tied", [False, True])
def test_score_is_what_evaluate_and_the_reference_give(tied, words):
    model, text_model = make_text_model(tied)
    text = random_text(words)
    ids = VOCABULARY.encode(TokenRules().split(text, close_lines=True))
    scored = text_model.score([text])
    perplexity = scored["perplexities"].numpy()[0]
    evaluated = plain_evaluator(model).exact(ids)
    assert evaluated.tokens == scored["counted"].numpy().sum()
    assert perplexity == pytest.approx(evaluated.perplexity, abs=1e-4)
    if words <= 30:
        params = reference_parameters(model.named_variables())
        nats, count = reference.perplexity_exact(params, ids, tied)
        assert perplexity == pytest.approx(math.exp(nats / count), abs=1e-4)
    names = scored["tokens"].numpy()[0].astype(str).tolist()
    assert names == VOCABULARY.decode(ids)


def test_a_sentence_after_a_line_end_is_counted_whole():
    model, text_model = make_text_model()
    scored = text_model.score(["w1 w2", "", "w3"], context="\n")
    assert scored["counted"].numpy().tolist() == [[True] * 3, [False] * 3, [1, 1, 0]]
    ids = VOCABULARY.encode(["<eos>", "w1", "w2", "<eos>"])
    expected = plain_evaluator(model).exact(ids)
    assert scored["perplexities"][0].numpy() == pytest.approx(expected.perplexity)
    longer = text_model.score(["w2"], context="w4 w1")["log_probabilities"]
    whole = text_model.score(["w4 w1 w2"])["log_probabilities"]
    np.testing.assert_allclose(longer[0], whole[0, 2:], atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_a_text_has_the_same_score_in_any_batch(tied, monkeypatch):
    """To the bit, on the processors we know; see scoring.FEWEST_ROWS."""
    monkeypatch.setattr(scoring, "CHUNK_TOKENS", 128)  # several chunks and tiles
    _, text_model = make_text_model(tied, hidden=64)
    texts = [random_text(words, words) for words in (1, 90, 33, 700, 2, 90, 5)]
    batch = text_model.score(texts)
    for row, text in enumerate(texts):
        alone = text_model.score([text])
        count = alone["tokens"].shape[1]
        scores = batch["log_probabilities"].numpy()
        np.testing.assert_array_equal(
            alone["log_probabilities"][0], scores[row, :count]
        )
        assert not scores[row, count:].any()
        assert not batch["counted"].numpy()[row, count:].any()
        np.testing.assert_array_equal(
            alone["perplexities"][0], batch["perplexities"][row]
        )


@pytest.mark.slow
def test_a_long_text_takes_little_memory(monkeypatch):
    """Never logits of more than CHUNK_TOKENS tokens, however many there are."""
    rows = []
    logits = LanguageModel.logits

    def watched(self, features):
        tf.py_function(lambda n: rows.append(int(n)), [tf.shape(features)[0]], [])
        return logits(self, features)

    monkeypatch.setattr(LanguageModel, "logits", watched)
    _, text_model = make_text_model()
    scored = text_model.score([random_text(100_000)])
    assert scored["counted"].numpy().sum() > 100_000
    assert np.isfinite(scored["perplexities"].numpy()).all()
    assert max(rows) <= scoring.CHUNK_TOKENS
    rows.clear()
    text_model.score(["w1 w2"] * 5000)
    assert max(rows) <= scoring.CHUNK_TOKENS


def test_empty_and_unknown_texts():
    _, text_model = make_text_model()
    scored = text_model.score(["", " ", "zz yy", "w1"])
    np.testing.assert_array_equal(
        np.isnan(scored["perplexities"]), [True, True, False, False]
    )
    assert scored["tokens"].numpy()[2].tolist() == [b"<unk>", b"<unk>", b"<eos>"]
    nothing = text_model.score(tf.constant([], tf.string))
    assert nothing["tokens"].shape == (0, 0)
    assert text_model.score([""])["perplexities"].shape == (1,)
    for texts in text_model.generate(tf.constant([], tf.string), 3).values():
        assert texts.shape[0] == 0


# --- text --------------------------------------------------------------------------


def test_characters():
    vocabulary = Vocabulary(["\n", " ", "<unk>", *"abcé"])
    _, text_model = make_text_model(vocabulary=vocabulary, token_type="char")
    scored = text_model.score(["a é\r\nx"])
    names = scored["tokens"].numpy()[0]
    assert [name.decode() for name in names] == ["a", " ", "é", "\n", "<unk>"]
    drawn = text_model.generate(["ab c"], num_tokens=30)
    tokens = drawn["tokens"].numpy()[0].tolist()
    assert drawn["texts"].numpy()[0] == b"ab c" + b"".join(tokens)
    assert b"\n" in tokens and b" " in tokens


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells(cell, tmp_path):
    """Score, step and draw, saved and restored, against the reference."""
    model, text_model = make_text_model(cell=cell)
    text = random_text(20)
    ids = VOCABULARY.encode(TokenRules().split(text, close_lines=True))
    params = reference_parameters(model.named_variables())
    nats, count = reference.perplexity_exact(params, ids, cell=cell)
    text_model.save(tmp_path / "saved_model")
    restored = tf.saved_model.load(str(tmp_path / "saved_model"))
    for each in (text_model, restored):
        perplexity = each.score([text])["perplexities"].numpy()[0]
        assert perplexity == pytest.approx(np.exp(nats / count), rel=1e-4)
        assert each.initial_state(3)["state"].shape == (3, 20)
        state, scores = each.initial_state(1)["state"], []
        for id, target in itertools.pairwise(ids):
            stepped = each.step([[id]], state)
            state = stepped["state"]
            scores.append(stepped["log_probabilities"].numpy()[0, 0, target])
        assert -sum(scores) == pytest.approx(nats, rel=1e-4)
    drawn = [m.generate(["w1"], num_tokens=9)["ids"] for m in (text_model, restored)]
    assert drawn[0].numpy().tolist() == drawn[1].numpy().tolist()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(ids[None])[0], model(ids[None])[0], rtol=1e-6)


def test_invalid_utf8_is_unknown(live_model):
    scored = live_model.score([b"w1 \xff\xfe w2"])
    assert scored["tokens"].numpy()[0].tolist() == [b"w1", b"<unk>", b"w2", b"<eos>"]


# --- arguments ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value",
    [
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", math.nan),
        ("top_k", -1),
        ("num_tokens", 0),
    ],
)
def test_bad_arguments_are_named(saved_model, name, value):
    arguments = {"num_tokens": 3} | {name: value}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be"):
        saved_model.generate(["w1"], **arguments)


def test_bad_k(saved_model):
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must be at least 1"):
        saved_model.next_tokens(["w1"], k=0)
    assert saved_model.next_tokens(["w1"], k=1000)["tokens"].shape == (1, 23)


def test_unknown_words_are_counted(live_model):
    texts = ["w1 zz <unk> yy", "", "w2"]
    for outputs in (
        live_model.generate(texts, num_tokens=2),
        live_model.score(texts),
        live_model.next_tokens(texts),
        live_model.encode(texts),
    ):
        assert outputs["unknown_tokens"].numpy().tolist() == [2, 0, 0]
    assert live_model.encode(texts)["ids"].numpy()[0].tolist() == [3, 1, 1, 1]


@pytest.mark.parametrize("token_type", ["word", "char"])
def test_unknown_tokens_without_unk_are_left_out(token_type):
    """As if they were not there, and counted; nothing is an error."""
    line_end = {"word": "<eos>", "char": "\n"}[token_type]
    vocabulary = Vocabulary([line_end, "a", "b"])
    _, text_model = make_text_model(vocabulary=vocabulary, token_type=token_type)
    blank = {"word": " ", "char": ""}[token_type]
    texts = [blank.join(text) for text in ("azb", "zz", "ab")]
    without = [blank.join(text) for text in ("ab", "", "ab")]
    for name, arguments in {
        "generate": {"num_tokens": 5, "seed": 3},
        "score": {"context": "\n"},
        "next_tokens": {"k": 3},
        "encode": {},
    }.items():
        found = getattr(text_model, name)(texts, **arguments)
        expected = getattr(text_model, name)(without, **arguments)
        assert found.pop("unknown_tokens").numpy().tolist() == [1, 2, 0]
        assert expected.pop("unknown_tokens").numpy().tolist() == [0, 0, 0]
        if name == "score" and token_type == "word":
            # The line of a text without words is closed, an empty text has none.
            expected = text_model.score(["a b", "\n", "a b"], **arguments)
            del expected["unknown_tokens"]
        for part, value in expected.items():
            np.testing.assert_array_equal(found[part], value, err_msg=part)


def test_nothing_to_start_from():
    _, text_model = make_text_model(vocabulary=Vocabulary(["a", "b"]))
    assert text_model.generate(["a\nb"], 4)["ids"].shape == (1, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="empty prompt"):
        text_model.generate(["a", ""])


def test_vocabulary_of_another_model():
    model = LanguageModel(20, 4, 1)
    with pytest.raises(UserError, match="23 tokens, the model 20"):
        TextModel(model, VOCABULARY)


# --- state and metadata ------------------------------------------------------------


def test_metadata_tells_the_format_and_where_each_part_of_a_state_lies(saved_model):
    facts = told_by(saved_model)
    assert facts["format"] == FORMAT == 3
    assert facts["state"] == [
        {"layer": layer, "name": name, "size": 10} for layer in (0, 1) for name in "hc"
    ]
    state = saved_model.step([[3, 4]], saved_model.initial_state(1)["state"])["state"]
    assert state.shape == (1, sum(part["size"] for part in facts["state"]))


def test_the_parts_of_a_state_lie_side_by_side():
    """As the model has them; the first layer's h first."""
    model, text_model = make_text_model()
    ids = np.array([[3, 4, 5]], np.int32)
    _, state = model(ids)
    packed = text_model.step(ids, text_model.initial_state(1)["state"])["state"]
    parts = [part for layer in state for part in layer]
    np.testing.assert_allclose(packed, np.concatenate(parts, axis=1), atol=1e-6)


class OfSeveralSizes:
    """What a layout asks of a model whose layers differ."""

    state_parts = (
        (("h", 2), ("c", 3)),
        (("memory", 4),),
    )


def test_layers_may_have_states_of_different_sizes():
    layout = StateLayout(OfSeveralSizes())
    state = [[tf.ones([5, 2]), 2 * tf.ones([5, 3])], [3 * tf.ones([5, 4])]]
    packed = layout.pack(state)
    assert layout.width == 9
    np.testing.assert_array_equal(packed[0], [1, 1, 2, 2, 2, 3, 3, 3, 3])
    tf.nest.map_structure(np.testing.assert_array_equal, layout.unpack(packed), state)
    names = [(part.layer, part.name, part.size) for part in layout.parts]
    assert names == [(0, "h", 2), (0, "c", 3), (1, "memory", 4)]
