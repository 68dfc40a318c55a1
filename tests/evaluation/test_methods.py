"""Methods of evaluating from outside: driven by every way of scoring a text."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.config import Config
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.inference.scoring import RowIndependent
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.registry import METHODS
from ptb_lm.runs.trained_run import TrainedRun
from tests.support.models import VOCABULARY, make_run, plain_evaluator


class Repeated:
    """Mixes the model with how often each token was seen: score first, then learn."""

    def __init__(self, model, config):
        self.model, self.config = model, config
        self.begun = 0

    def begin(self, batch_size):
        self.begun += 1
        self.state = self.model.initial_state(batch_size)
        self.counts = np.ones((batch_size, self.model.vocab_size))

    def end(self):
        self.ended = True

    def score(self, inputs, targets):
        model = self.model
        embedded = model.embed(tf.transpose(inputs))
        features, self.state = model.features(embedded, self.state, with_gradient=False)
        logits = model.logits(features)[:, : inputs.shape[0]]
        said = tf.transpose(tf.nn.softmax(logits), [1, 0, 2]).numpy()
        nats = np.zeros(targets.shape, np.float32)
        for row, tokens in enumerate(targets.numpy()):
            for step, token in enumerate(tokens):
                share = self.counts[row, token] / self.counts[row].sum()
                nats[row, step] = -math.log(said[row, step, token] / 2 + share / 2)
                self.counts[row, token] += 1
        return tf.constant(nats)


@pytest.fixture
def repeated():
    METHODS.register("repeated", Repeated, "for a test")
    yield
    METHODS.unregister("repeated")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("methods") / "run").path


class Learning:
    """Takes a step on the softmax bias after every token: a dynamic evaluation."""

    def __init__(self, model, config):
        self.model = model
        self.bias = model.named_variables()["softmax_bias"]
        self.start = tf.identity(self.bias)

    def begin(self, batch_size):
        self.state = self.model.initial_state(batch_size)

    def end(self):
        self.bias.assign(self.start)

    def score(self, inputs, targets):
        nats = []
        for step in range(inputs.shape[1]):
            embedded = self.model.embed(tf.transpose(inputs)[step : step + 1])
            with tf.GradientTape() as tape:
                features, self.state = self.model.features(embedded, self.state)
                token = tf.transpose(targets)[step : step + 1]
                nats.append(self.model.token_nats(features, token))
                loss = tf.reduce_sum(nats[-1])
            self.bias.assign_sub(0.5 * tape.gradient(loss, self.bias))
        return tf.transpose(tf.concat(nats, axis=0))


def expected_nats(model, ids):
    """What `Repeated` should give, from all of the model's logits at once."""
    said = tf.nn.softmax(model(ids[None])[0])[0].numpy()
    nats, counts = [], np.ones(model.vocab_size)
    for step, token in enumerate(ids[1:]):
        share = counts[token] / counts.sum()
        nats.append(-math.log(said[step, token] / 2 + share / 2))
        counts[token] += 1
    return np.array(nats)


def test_a_method_carries_its_own_state_from_window_to_window():
    model = LanguageModel(23, 10, 2, init_scale=0.7, seed=1)
    ids = np.random.default_rng(0).integers(0, 23, 90).astype(np.int32)
    method = Repeated(model, Config())
    for chunk_tokens in (200, 7):
        nats = Evaluator(method, chunk_tokens).token_nats(ids)
        np.testing.assert_allclose(nats, expected_nats(model, ids), rtol=1e-4)
    assert method.begun == 2 and method.ended
    score = Evaluator(method).tutorial(ids, 3, 5)
    rows = ids.reshape(3, 30)[:, :26]
    expected = sum(expected_nats(model, row).sum() for row in rows)
    assert score.tokens == 75 and score.nats == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("stands_for_it", [lambda model: model, RowIndependent])
def test_a_method_may_learn_and_puts_the_weights_back(stands_for_it):
    model = LanguageModel(23, 10, 1, init_scale=0.7, seed=1)
    ids = np.full(30, 5, np.int32)
    plain = plain_evaluator(model).token_nats(ids)
    evaluator = Evaluator(Learning(stands_for_it(model), Config()), chunk_tokens=8)
    first, again = (evaluator.token_nats(ids) for _ in range(2))
    np.testing.assert_allclose(first[0], plain[0], rtol=1e-5)  # score first
    assert first[-1] < plain[-1] / 2  # then learn
    np.testing.assert_array_equal(first, again)


def test_plain_starts_anew_for_every_text():
    model = LanguageModel(23, 10, 2, init_scale=0.7, seed=1)
    ids = np.arange(20, dtype=np.int32)
    evaluator = plain_evaluator(model)
    assert evaluator.exact(ids) == evaluator.exact(ids)


def test_evaluate_and_score_use_the_method_that_is_asked_for(
    repeated, run, tmp_path, capsys
):
    text = "w1 w2 w1 w1\n"
    (tmp_path / "text.txt").write_text(text)
    options = [f"--save_path={run}", f"--text_file={tmp_path}/text.txt"]
    found = {}
    for method in ("plain", "repeated"):
        chosen = [*options, f"--method={method}"]
        assert run_ptb.main(["--mode=evaluate", *chosen]) == 0
        evaluated = capsys.readouterr().out
        assert run_ptb.main(["--mode=score", "--format=json", *chosen]) == 0
        entry = json.loads(capsys.readouterr().out)
        assert f"perplexity {entry['perplexity']:.3f}" in evaluated
        found[method] = entry["nats"][1:]
    ids = VOCABULARY.encode(["w1", "w2", "w1", "w1", "<eos>"])

    expected = expected_nats(TrainedRun(run).model(), ids)
    np.testing.assert_allclose(found["repeated"], expected, rtol=1e-4)
    assert not np.allclose(found["plain"], expected, rtol=1e-2)


def test_a_method_that_is_not_there(run, capsys):
    assert run_ptb.main([f"--save_path={run}", "--mode=score", "--method=oracle"]) == 2
    assert capsys.readouterr().err == (
        "run_ptb.py: --method=oracle: must be one of plain\n"
    )


def test_plain_needs_no_more_than_scorable():
    """A stand-in with a uniform distribution, and no state."""

    class Uniform:
        vocab_size = 8

        def named_variables(self):
            return {}

        def initial_state(self, batch_size):
            return tf.zeros([0])

        def embed(self, ids):
            return ids

        def features(self, embedded, state, *, with_gradient=True):
            return tf.cast(embedded, tf.float32)[..., None], state

        def logits(self, features):
            return tf.zeros_like(features) * tf.ones([8])

        def token_nats(self, features, targets):
            return tf.fill(tf.shape(targets), math.log(8))

    score = plain_evaluator(Uniform(), 4).exact(np.zeros(11, np.int32))
    assert score.tokens == 10 and score.perplexity == pytest.approx(8)
