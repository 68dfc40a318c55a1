"""Drawn text follows the model's distribution, whatever the batch."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.english import ENGLISH
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.data.windows import training_windows
from ptb_lm.inference import sampling
from ptb_lm.inference.text_model import TextModel
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.training.input_pipeline import WindowStream
from ptb_lm.training.step import TrainingProgram

WORDS = [f"w{index}" for index in range(28)]
PROMPTS = ["w1 w2 w3 w4 w5", "", "w6", "w7 w8\nw9", "w1 w2", "w3 w4"]


def make_text_model(tied=False, layers=2, scale=2.0, words=WORDS):
    """A model of random weights, far from uniform."""
    vocabulary = Vocabulary(["<eos>", "<unk>", *words])
    model = LanguageModel(
        len(vocabulary), 12, layers, init_scale=scale, tied=tied, seed=5
    )
    return TextModel(model, vocabulary)


@pytest.fixture(scope="module")
def text_model():
    return make_text_model()


def assert_fits(counts, probabilities):
    """Chi-square test at one in a thousand; rare outcomes are put together."""
    counts, probabilities = map(np.asarray, (counts, probabilities))
    assert counts[probabilities == 0].sum() == 0, "drawn, and must not be"
    expected = probabilities * counts.sum()
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(counts) - 1
    # Wilson and Hilferty (1931): the cube root is nearly normal; 3.09 is 0.999.
    spread = 2 / (9 * freedom)
    critical = freedom * (1 - spread + 3.09 * math.sqrt(spread)) ** 3
    assert statistic < critical, f"chi-square {statistic:.1f}, at most {critical:.1f}"


def cut_distribution(logits, temperature, top_k, top_p):
    """What `draw` should draw from, one token after the other."""
    weights = np.exp((logits - logits.max()) / temperature)
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities, kind="stable")[: top_k or len(logits)]
    mass, kept = probabilities[order].sum(), []
    for index in order:
        kept.append(index)
        if probabilities[kept].sum() >= top_p * mass:
            break
    result = np.zeros_like(probabilities)
    result[kept] = probabilities[kept] / probabilities[kept].sum()
    return result


# --- random numbers ----------------------------------------------------------------


def numbers(seed, first, count, rows):
    return sampling.uniforms(
        tf.constant(seed, tf.int64), tf.constant(first), tf.constant(count), rows
    ).numpy()


def test_random_numbers_do_not_depend_on_the_cut_nor_on_other_rows():
    whole = numbers(7, 0, 200, 3)
    assert whole.shape == (200, 3)
    for first, count in ((0, 1), (63, 2), (64, 64), (100, 100)):
        np.testing.assert_array_equal(
            numbers(7, first, count, 3), whole[first : first + count]
        )
    np.testing.assert_array_equal(numbers(8, 0, 200, 1)[:, 0], whole[:, 1])
    assert len(np.unique(whole)) == whole.size


def test_random_numbers_are_uniform():
    drawn = numbers(0, 0, 2000, 20)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert_fits(np.histogram(drawn, 50, (0, 1))[0], np.full(50, 1 / 50))
    # Neighbours in time and of neighbouring seeds have nothing in common.
    for one, other in ((drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1])):
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(one.size)


# --- drawing -----------------------------------------------------------------------

RULES = [
    (1.0, 0, 1.0),
    (0.5, 0, 1.0),
    (3.0, 0, 1.0),
    (1.0, 5, 1.0),
    (1.0, 1, 1.0),
    (1.0, 10_000, 1.0),
    (1.0, 0, 0.8),
    (1.0, 0, 1e-6),
    (0.7, 8, 0.6),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_draws_follow_the_distribution(rule):
    logits = np.random.default_rng(1).normal(0, 2, 40).astype(np.float32)
    logits[3] = -np.inf
    logits[[10, 11]] = logits[12]  # equally likely
    uniform = np.random.default_rng(2).random(20_000)
    temperature, top_k, top_p = rule
    ids = sampling.draw(
        tf.tile(logits[None], [len(uniform), 1]),
        tf.constant(uniform),
        tf.constant(temperature),
        tf.constant(top_k),
        tf.constant(top_p),
    )
    expected = cut_distribution(logits.astype(np.float64), *rule)
    if np.count_nonzero(expected) == 1:
        assert set(ids.numpy()) == {expected.argmax()}
    else:
        assert_fits(np.bincount(ids, minlength=40), expected)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-52])
@pytest.mark.parametrize("rule", [*RULES, (0.0, 0, 1.0), (1e-38, 3, 0.9)], ids=str)
def test_extremes_draw_what_may_be_drawn(uniform, rule):
    logits = np.array([[-np.inf, 3.0, 88.0, 90.0, -np.inf, -100.0, -np.inf]], "f")
    temperature, top_k, top_p = map(tf.constant, rule)
    (drawn,) = sampling.draw(
        logits, tf.constant([uniform], tf.float64), temperature, top_k, top_p
    ).numpy()
    assert np.isfinite(logits[0, drawn])
    if rule[0] < 1e-9:
        assert drawn == 3


def test_greedy_is_the_likeliest_of_every_step(text_model):
    drawn = text_model.generate(PROMPTS, num_tokens=15, temperature=0.0, seed=3)
    again = text_model.generate(PROMPTS, num_tokens=15, temperature=0.0, seed=4)
    np.testing.assert_array_equal(drawn["ids"], again["ids"])
    for prompt, ids in zip(PROMPTS, drawn["ids"].numpy(), strict=True):
        state = text_model.initial_state(1)["state"]
        read = [0, *text_model.encode([prompt])["ids"].numpy()[0]]
        for expected in ids:
            step = text_model.step([read], state)
            scores = step["log_probabilities"].numpy()[0, -1]
            scores[1] = -np.inf  # <unk> is not drawn unless asked for
            assert scores.argmax() == expected
            read, state = [expected], step["state"]


# --- batches -----------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_reading_rows_of_unequal_length(tied, monkeypatch):
    monkeypatch.setattr(sampling, "CHUNK_TOKENS", 12)
    model = LanguageModel(30, 9, 2, init_scale=1.0, tied=tied)
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 30, n).tolist() for n in (0, 1, 17, 5, 5, 2, 16)]
    ids = tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)
    state = sampling.read(model, ids, model.initial_state(len(rows)))
    for place, row in enumerate(rows):
        expected = model.initial_state(1)
        if row:
            _, expected = model(tf.constant([row]), expected)
        for parts, others in zip(state, expected, strict=True):
            for part, other in zip(parts, others, strict=True):
                np.testing.assert_allclose(part[place], other[0], atol=2e-6)


@pytest.mark.parametrize("rule", [(0.0, 0, 1.0), (1.0, 0, 1.0), (0.9, 7, 0.9)], ids=str)
def test_a_batch_equals_one_by_one(text_model, rule):
    rules = dict(zip(("temperature", "top_k", "top_p"), rule, strict=True))
    batch = text_model.generate(PROMPTS, num_tokens=30, seed=11, **rules)
    for row, prompt in enumerate(PROMPTS):
        alone = text_model.generate([prompt], num_tokens=30, seed=11 + row, **rules)
        assert alone["texts"][0] == batch["texts"][row]


def test_same_seed_same_text(text_model):
    first = text_model.generate(["w1"] * 3, num_tokens=40, seed=2)
    again = text_model.generate(["w1"] * 3, num_tokens=40, seed=2)
    other = text_model.generate(["w1"] * 3, num_tokens=40, seed=5)
    np.testing.assert_array_equal(first["ids"], again["ids"])
    texts = [*first["texts"].numpy(), *other["texts"].numpy()]
    assert len(set(texts)) == 6


@pytest.mark.parametrize("cuts", [[1] * 5, [70, 1, 64], [3, 130]], ids=str)
def test_pieces_make_the_whole(text_model, cuts):
    rules = {"temperature": 0.8, "top_k": 20, "seed": 9}
    whole = text_model.generate(["w1 w2"], num_tokens=sum(cuts), **rules)
    begin = text_model.begin(text_model.encode(["w1 w2"])["ids"])
    last_ids, state, ids = begin["last_ids"], begin["state"], []
    for count in cuts:
        piece = text_model.draw(
            last_ids, state, num_tokens=count, position=len(ids), **rules
        )
        ids += piece["ids"].numpy()[0].tolist()
        last_ids, state = piece["ids"][:, -1], piece["state"]
    assert ids == whole["ids"].numpy()[0].tolist()


def test_unknown_is_drawn_only_where_allowed(text_model):
    for allowed in (False, True):
        drawn = text_model.generate([""] * 20, num_tokens=50, allow_unknown=allowed)
        assert (1 in drawn["ids"].numpy()) is allowed


# --- statistics --------------------------------------------------------------------


def test_surprise_equals_entropy(text_model):
    """Of 20,000 tokens, at temperature 1: -log p of what is drawn, on average."""
    drawn = text_model.generate([""] * 200, num_tokens=100, allow_unknown=True)
    ids = drawn["ids"].numpy()
    inputs = np.pad(ids[:, :-1], [(0, 0), (1, 0)])  # <eos> has the id 0
    state = text_model.initial_state(200)["state"]
    scores = text_model.step(inputs, state)["log_probabilities"].numpy()
    scores = scores.astype(np.float64)
    entropy = -(np.exp(scores) * scores).sum(-1)
    nats = -np.take_along_axis(scores, ids[..., None], axis=-1)[..., 0]
    differences = nats - entropy
    assert entropy.std() > 0.1, "a model that is the same everywhere shows nothing"
    standard_error = differences.std() / math.sqrt(differences.size)
    assert abs(differences.mean()) < 3 * standard_error


@pytest.mark.parametrize("rule", [(1.0, 0, 1.0), (1.0, 6, 1.0), (1.0, 0, 0.7)], ids=str)
def test_first_tokens_follow_next_tokens(text_model, rule):
    size = 30
    next_tokens = text_model.next_tokens(["w3 w4"], k=size)
    probabilities = np.zeros(size)
    probabilities[next_tokens["ids"][0]] = next_tokens["probabilities"][0]
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    drawn = text_model.generate(
        ["w3 w4"] * 20_000,
        num_tokens=1,
        allow_unknown=True,
        **dict(zip(("temperature", "top_k", "top_p"), rule, strict=True)),
    )
    expected = cut_distribution(np.log(probabilities), *rule)
    assert_fits(np.bincount(drawn["ids"].numpy()[:, 0], minlength=size), expected)


@pytest.fixture(scope="module")
def trained():
    """A small model of the built-in corpus, after seconds of training."""
    config = Config.from_values(
        {
            "hidden_size": 48,
            "num_layers": 1,
            "optimizer": "adam",
            "learning_rate": 0.01,
            "max_grad_norm": 100.0,
            "tied": True,
            "batch_size": 50,
            "num_steps": 20,
        }
    )
    corpus = load_corpus(config.data)
    program = TrainingProgram(config, len(corpus.vocabulary))
    stream = WindowStream(training_windows(corpus.splits["train"], config.training))
    step = 0
    for _ in range(4):
        program.reset_state()
        batches = stream.start_at(0, 0)
        count = len(corpus.splits["train"]) // 50 // 20 - 1
        nats, _ = program.train_steps(batches, step, np.full(count, 0.01))
        step += count
    assert np.isfinite(nats).all()
    return TextModel(program.model, corpus.vocabulary), corpus.vocabulary


@pytest.mark.slow
def test_grammatical_share(trained):
    """The share of grammatical sentences is what the probabilities imply.

    Along its own samples, the model gives some probability to tokens that break
    the sentence. The number of sentences that break minus the sum of these
    probabilities is a martingale: zero on average.
    """
    model, vocabulary = trained
    rows, steps = 100, 400
    ids = model.generate([""] * rows, num_tokens=steps, seed=1, allow_unknown=True)
    ids = ids["ids"].numpy()
    inputs = np.pad(
        ids[:, :-1], [(0, 0), (1, 0)], constant_values=vocabulary.tokens.index("<eos>")
    )
    scores = model.step(inputs, model.initial_state(rows)["state"])
    probabilities = np.exp(scores["log_probabilities"].numpy())
    place = {token: index for index, token in enumerate(vocabulary.tokens)}
    allowed = {}
    sentences = broken = 0
    expected = 0.0
    for row, row_ids in enumerate(ids):
        prefix = ()
        for step, token in enumerate(vocabulary.decode(row_ids)):
            if prefix is not None:
                sentences += not prefix
                if prefix not in allowed:
                    following = ENGLISH.next_token_distribution(prefix)
                    allowed[prefix] = np.array([place[word] for word in following])
                good = allowed[prefix]
                expected += 1 - probabilities[row, step, good].sum()
                if place[token] not in good:
                    broken += 1
                    prefix = None
            if token == "<eos>":
                prefix = ()
            elif prefix is not None:
                prefix = (*prefix, token)
    assert 0.1 < broken / sentences < 0.9, "too good or too bad to show anything"
    print(
        f"{sentences} sentences, {broken / sentences:.3%}, {expected / sentences:.3%}"
    )
    assert broken / sentences == pytest.approx(expected / sentences, abs=0.02)
