"""What is kept beside a run for its evaluation, and is damaged or another's."""

import json
import re

import numpy as np
import pytest

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.evaluation import adaptation
from ptb_lm.evaluation.adaptation import Adaptation, tuned_constants
from ptb_lm.evaluation.members import Members
from ptb_lm.runs.trained_run import TrainedRun
from tests.support.models import make_run

RMS = Config.from_values({"dynamic": "rms"})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Of a run."""
    return make_run(tmp_path_factory.mktemp("kept") / "run").path


@pytest.fixture
def run(path):
    """The run, beside which nothing is kept."""
    for name in (adaptation.TUNED, adaptation.STATISTICS):
        (path / name).unlink(missing_ok=True)
    return TrainedRun(path)


# --- Tuned constants ----------------------------------------------------------

CACHE = "cache of 10, none"


def keep(run, constants):
    content = {"weights": run.weights_digest, "constants": constants}
    (run.path / adaptation.TUNED).write_text(json.dumps(content))


@pytest.mark.parametrize(
    "constants",
    [
        5,
        [],
        None,
        {CACHE: [1]},
        {CACHE: {"cache_weight": "x"}},
        {CACHE: {"cache_weight": None}},
        {CACHE: {"cache_weight": float("nan")}},
        {CACHE: {"cache_weight": 1.0}},
        {CACHE: {"cache_flatness": 1e300}},
        {CACHE: {"hidden_size": 1.0}},
        {"sgd": {"dynamic_rate": -3.0}},
    ],
)
def test_damaged_constants(run, constants):
    keep(run, constants)
    with pytest.raises(UserError, match=r"tuned.json: damaged: .*; remove it and tune"):
        tuned_constants(run)


@pytest.mark.parametrize("text", ["", "[" * 10**5, "\0", "[]", "{}"])
def test_a_file_without_constants(run, text):
    (run.path / adaptation.TUNED).write_text(text)
    with pytest.raises(UserError, match=r"tuned.json: damaged: "):
        tuned_constants(run)


def test_good_constants(run):
    constants = {CACHE: {"cache_weight": 0.5}, "mixture": {"weight 1": 1}}
    keep(run, constants)
    assert tuned_constants(run) == constants


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.25, 0.25], [0.5, 0.6]])
def test_weights_of_another_mixture(run, weights):
    config = Config.from_values({"ngram_order": 2})
    members = Members(config, [run], lambda split: np.arange(20, dtype=np.int32))
    named = {f"weight {n}": weight for n, weight in enumerate(weights, 1)}
    keep(run, {members._key(): named})
    with pytest.raises(UserError, match="damaged: no weights of 2 members"):
        members.method()


# --- Sizes of the gradients ---------------------------------------------------


@pytest.fixture
def measure(run, monkeypatch):
    """Finds the sizes of the gradients; returns whether they were measured anew."""
    measured = {name: np.ones_like(values) for name, values in run.weights.items()}
    monkeypatch.setattr(adaptation, "gradient_rms", lambda *_: measured)

    def find():
        found = Adaptation(RMS, run, lambda: None)._statistics(None)
        return found is measured

    return find


def statistics(run, **changes):
    """What is kept of a run, some of it changed."""
    arrays = {name: np.ones_like(values) for name, values in run.weights.items()}
    return arrays | {"key": np.array(f"{run.weights_digest} 5")} | changes


def embedding(**options):
    return {"embedding": np.full(**{"shape": (23, 10), "fill_value": 1} | options)}


ANOTHERS = {
    "of other weights": {"key": "other"},
    "objects": {"key": np.array([1, None], object)},
    "another shape": embedding(shape=2, dtype=np.float32),
    "another type": embedding(dtype=np.float64),
    "texts": embedding(fill_value="a"),
    "not finite": embedding(fill_value=np.nan, dtype=np.float32),
    "negative": embedding(fill_value=-1, dtype=np.float32),
}


@pytest.mark.parametrize("changes", ANOTHERS.values(), ids=ANOTHERS)
def test_what_is_not_of_these_weights_is_measured_anew(run, measure, changes):
    np.savez(run.path / adaptation.STATISTICS, **statistics(run, **changes))
    assert measure()
    assert not measure()  # and kept


def test_a_file_that_may_unpack_to_any_size_is_not_unpacked(run, measure):
    path = run.path / adaptation.STATISTICS
    np.savez_compressed(path, **statistics(run))
    assert measure()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4"])
def test_a_file_of_something_else_is_replaced(run, measure, content):
    path = run.path / adaptation.STATISTICS
    path.write_bytes(content)
    assert measure()
    assert re.match(b"PK", path.read_bytes())
    np.save(path.open("wb"), np.ones(3))
    assert measure()
