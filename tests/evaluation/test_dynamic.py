"""Dynamic evaluation beside float64 NumPy: `reference.py` knows nothing of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.errors import UserError
from ptb_lm.evaluation.dynamic import Dynamic
from ptb_lm.evaluation.evaluator import Evaluator
from ptb_lm.evaluation.gradient_statistics import gradient_rms
from ptb_lm.evaluation.learning import DynamicConstants
from ptb_lm.inference.scoring import RowIndependent
from ptb_lm.model.language_model import LanguageModel
from tests.support import reference
from tests.support.arithmetic import reference_parameters
from tests.support.models import plain_evaluator

VOCAB = 13
CONSTANTS, STEPS = DynamicConstants(rate=0.5, decay=0.1, epsilon=0.01), 5


def make_model(tied=False):
    return LanguageModel(VOCAB, 6, 2, init_scale=0.5, tied=tied, seed=3)


def random_ids(count, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, count).astype(np.int32)


def random_rms(model, seed=1):
    """Made-up statistics; some are so large that the way back is limited."""
    rng = np.random.default_rng(seed)
    return {
        name: np.exp(2 * rng.standard_normal(weight.shape)).astype(np.float32)
        for name, weight in model.named_variables().items()
    }


def segments(ids, steps):
    """(inputs, targets) of the whole segments of one text, then of its rest."""
    for begin in range(0, len(ids) - 1, steps):
        end = min(begin + steps, len(ids) - 1)
        yield ids[None, begin:end], ids[None, begin + 1 : end + 1]


def expected_nats(model, ids, constants, rms=None, tied=False):
    """Krause et al.'s equations, one segment after the other, in float64."""
    trained = reference_parameters(model.named_variables())
    params, state, nats = dict(trained), None, []
    if rms is not None:
        rms = reference_parameters({n: Numbers(v) for n, v in rms.items()})
        mean = np.concatenate([v.ravel() for v in rms.values()]).mean()
    for inputs, targets in segments(ids, STEPS):
        found = reference.language_model_loss(
            params, inputs, targets, state, tied=tied, loss_scale="mean"
        )
        logits = found.logits[0]
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        nats.extend(-logs[np.arange(len(logs)), targets[0]])
        state = found.state
        for name, gradient in found.gradients.items():
            back = trained[name] - params[name]
            if rms is None:
                step = constants.decay * back - constants.rate * gradient
            else:
                r = np.minimum(rms[name] / mean, 1 / constants.decay)
                step = constants.decay * r * back
                step -= constants.rate * gradient / (rms[name] + constants.epsilon)
            params[name] = params[name] + step
    return np.array(nats)


class Numbers:
    """An array as `reference_parameters` reads a variable."""

    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rule", ["sgd", "rms"])
def test_scores_are_those_of_the_equations(rule, tied):
    model, ids = make_model(tied), random_ids(63)
    rms, rate = (random_rms(model), 0.02) if rule == "rms" else (None, 0.2)
    constants = CONSTANTS._replace(rate=rate)
    expected = expected_nats(model, ids, constants, rms, tied)
    nats = Evaluator(Dynamic(model, constants, STEPS, rms)).token_nats(ids)
    np.testing.assert_allclose(nats, expected, rtol=1e-6, atol=1e-6)
    plain = plain_evaluator(model).token_nats(ids)
    assert np.abs(plain - expected).max() > 0.05


@pytest.fixture(scope="module")
def dynamic():
    """Compiled once, because that takes a second."""
    return Dynamic(make_model(), CONSTANTS, STEPS)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 20), seed=st.integers(0, 9))
def test_the_cut_into_windows_changes_nothing(dynamic, cut, seed):
    method, ids = dynamic, random_ids(41, seed)
    whole = Evaluator(method).token_nats(ids)
    np.testing.assert_allclose(Evaluator(method, cut).token_nats(ids), whole, atol=1e-5)


def test_a_token_influences_later_ones_only(dynamic):
    ids, evaluator = random_ids(40), Evaluator(dynamic)
    whole = evaluator.token_nats(ids)
    for length in (7, 23):
        begin = evaluator.token_nats(ids[:length])
        np.testing.assert_allclose(begin, whole[: length - 1], atol=1e-5)


def test_a_text_that_repeats_itself_is_learned():
    model = make_model()
    ids = np.tile(random_ids(10), 60)
    constants = CONSTANTS._replace(decay=0.0)
    nats = Evaluator(Dynamic(model, constants, STEPS)).token_nats(ids)
    assert nats[-50:].mean() < nats[:50].mean() - 0.25


def test_rows_share_the_weights_and_padding_teaches_nothing():
    model = make_model()
    rows = np.stack([random_ids(16, 1), random_ids(16, 2)]).ravel()
    scores = [
        Evaluator(Dynamic(stands, CONSTANTS, STEPS)).tutorial(rows, 2, 5).nats
        for stands in (model, RowIndependent(model))
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    one = random_ids(16, 1)
    alone = [
        Evaluator(Dynamic(stands, CONSTANTS, STEPS)).exact(one).nats
        for stands in (model, RowIndependent(model))
    ]
    assert alone[0] == pytest.approx(alone[1], rel=1e-5)


def test_statistics_are_the_root_mean_square_of_the_gradients():
    model, ids, steps = make_model(), random_ids(64), 3
    rows, count = 15, 1  # as many as have a segment and its last target
    params, state, sums = reference_parameters(model.named_variables()), None, {}
    text = ids[: rows * (64 // rows)].reshape(rows, -1)
    for number in range(count):
        window = text[:, number * steps : (number + 1) * steps + 1]
        found = reference.language_model_loss(
            params, window[:, :-1], window[:, 1:], state, loss_scale="mean"
        )
        state = found.state
        for name, gradient in found.gradients.items():
            sums[name] = sums.get(name, 0.0) + gradient**2
    said = []
    rms = gradient_rms(model, ids, steps, lambda *place: said.append(place))
    rms = reference_parameters({n: Numbers(v) for n, v in rms.items()})
    assert said == [(1, 1)] and rms.keys() == sums.keys()
    for name, values in rms.items():
        np.testing.assert_allclose(values, np.sqrt(sums[name] / count), atol=1e-6)


def test_the_trained_weights_are_put_back():
    model, ids = make_model(), random_ids(40)
    plain = plain_evaluator(model).token_nats(ids)
    first = Evaluator(Dynamic(model, CONSTANTS, STEPS)).token_nats(ids)
    np.testing.assert_array_equal(plain_evaluator(model).token_nats(ids), plain)
    again = Evaluator(Dynamic(model, CONSTANTS, STEPS)).token_nats(ids)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).max() > 0.1


def test_other_constants_need_no_other_graph(monkeypatch):
    model, ids = make_model(), random_ids(43)
    traced = []
    token_nats = model.token_nats
    monkeypatch.setattr(
        model, "token_nats", lambda *a: traced.append(0) or token_nats(*a)
    )
    method = Dynamic(model, CONSTANTS, STEPS)
    Evaluator(method, 13).token_nats(ids)
    count = len(traced)
    assert count > 0
    for rate, decay in ((0.2, 0.3), (0.05, 0.0)):
        method.constants = DynamicConstants(rate, decay, 0.1)
        nats = Evaluator(method, 17).token_nats(ids)
        expected = expected_nats(model, ids, method.constants)
        np.testing.assert_allclose(nats, expected, rtol=1e-6, atol=1e-6)
    assert len(traced) == count


def test_a_rate_that_diverges_is_named():
    constants = DynamicConstants(rate=1e30, decay=0.0, epsilon=1.0)
    evaluator = Evaluator(Dynamic(make_model(), constants, STEPS))
    with pytest.raises(UserError, match=r"diverge at the rate 1e\+30; give a lower"):
        evaluator.exact(random_ids(60))
