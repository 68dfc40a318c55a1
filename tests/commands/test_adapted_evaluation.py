"""evaluate with everything that can be added to a run, on runs of random weights."""

import json
import re

import numpy as np
import pytest

import ptb_lm
import run_ptb
from ptb_lm.evaluation import rows
from ptb_lm.evaluation.ngrams import estimate
from tests.support.models import VOCABULARY, make_run

pytestmark = pytest.mark.slow  # models, and functions that are traced


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sentences that repeat their words, as a cache likes it."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for split, lines in (("train", 300), ("valid", 60), ("test", 60)):
        words = rng.integers(0, 21, (lines, 3))
        text = "".join(f"w{a} w{b} w{a} w{c} w{b}\n" for a, b, c in words)
        (folder / f"{split}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """Two runs on that corpus."""
    options = {"data_path": str(corpus), "batch_size": 2, "num_steps": 3}
    return [
        make_run(tmp_path_factory.mktemp("runs") / f"run{seed}", seed=seed, **options)
        for seed in (4, 5)
    ]


def evaluate(capsys, run, *options):
    """The JSON object that evaluate prints, and standard error."""
    place = [] if run is None else [f"--save_path={run.path}"]
    status = run_ptb.main(["--mode=evaluate", *place, "--format=json", *options])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return json.loads(printed.out), printed.err


@pytest.mark.parametrize("shortest_row", [rows.SHORTEST_ROW, 60])
def test_neutral_settings_give_the_bits_of_plain_evaluation(
    runs, capsys, monkeypatch, shortest_row
):
    monkeypatch.setattr(rows, "SHORTEST_ROW", shortest_row)
    plain = evaluate(capsys, runs[0])[0]["total_nats"]
    for options in (
        ["--dynamic=sgd", "--dynamic_rate=0"],
        ["--dynamic=rms", "--dynamic_rate=0"],
        ["--cache_size=20", "--cache_weight=0"],
        ["--ngram_order=3", "--mixture_weights=1,0"],
    ):
        assert evaluate(capsys, runs[0], *options)[0]["total_nats"] == plain
    alone = evaluate(capsys, None, f"--runs={runs[0].path}")[0]
    assert alone["total_nats"] == plain


def test_tuned_constants_are_kept_and_help(runs, capsys):
    options = ["--dynamic=sgd", "--cache_size=20"]
    plain = evaluate(capsys, runs[0], "--split=valid")[0]
    before = evaluate(capsys, runs[0], "--split=valid", *options)[0]
    tuned, said = evaluate(capsys, runs[0], "--split=valid", *options, "--tune")
    found = re.findall(r"tuned run4: (.*); valid perplexity ([\d.]+) of (\d+)", said)
    assert [constants.split()[0] for constants, *_ in found] == [
        "dynamic_rate",
        "cache_weight",
    ]
    assert float(found[1][1]) == pytest.approx(tuned["perplexity"], abs=2e-3)
    assert tuned["perplexity"] < before["perplexity"] < plain["perplexity"]
    again = evaluate(capsys, runs[0], "--split=valid", *options)[0]
    assert again == tuned
    (constants,) = tuned["constants"]
    assert constants["dynamic_rate"] > 0 and constants["cache_weight"] > 0
    assert tuned["dynamic"] == "sgd" and tuned["cache_size"] == 20
    assert "constants" not in plain and plain["method"] == "plain"
    assert evaluate(capsys, runs[0], "--split=valid")[0] == plain


def test_the_statistics_of_gradients_are_measured_once(runs, corpus, capsys):
    first = evaluate(capsys, runs[0], "--dynamic=rms")[0]
    path = runs[0].path / "gradient_rms.npz"
    stamp = path.stat().st_mtime_ns
    assert evaluate(capsys, runs[0], "--dynamic=rms")[0] == first
    assert path.stat().st_mtime_ns == stamp
    evaluate(capsys, runs[0], "--dynamic=rms", "--dynamic_steps=4")
    assert path.stat().st_mtime_ns != stamp


def test_ngrams_alone_and_mixed(runs, corpus, capsys):
    alone = evaluate(capsys, runs[0], "--ngram_order=3", "--mixture_weights=0,1")[0]
    texts = [(corpus / f"{split}.txt").read_text() for split in ("train", "test")]
    ids = [VOCABULARY.encode(t.replace("\n", " <eos> ").split()) for t in texts]
    logs = estimate(ids[0], 3, len(VOCABULARY), line_end=0).log_probs(ids[1])
    assert alone["total_nats"] == pytest.approx(-logs[1:].sum(), rel=1e-6)
    tuned, said = evaluate(capsys, runs[0], "--ngram_order=3", "--tune")
    weights = re.search(r"weight 1 ([\d.e-]+), weight 2 ([\d.e-]+)", said)
    assert sum(map(float, weights.groups())) == pytest.approx(1, abs=1e-3)
    assert tuned["perplexity"] < alone["perplexity"] * 1.01
    assert evaluate(capsys, runs[0], "--ngram_order=3")[0] == tuned
    assert tuned["mixture"] == "linear" and tuned["ngram_order"] == 3
    assert tuned["mixture_weights"] == pytest.approx(
        [float(weight) for weight in weights.groups()], rel=1e-2
    )


def test_an_ensemble_is_better_than_its_members(runs, capsys):
    members = [evaluate(capsys, run)[0]["perplexity"] for run in runs]
    both = f"--runs={runs[0].path},{runs[1].path}"
    for mixture in ("linear", "log"):
        found = evaluate(capsys, None, both, f"--mixture={mixture}")[0]
        assert found["perplexity"] < np.mean(members)


def test_intervals_and_comparison(runs, capsys):
    options = [f"--save_path={runs[0].path}", f"--compare={runs[1].path}"]
    command = ["--mode=evaluate", *options, "--confidence=0.9"]
    assert run_ptb.main(command) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert re.fullmatch(r"90 % interval: [\d.]+ to [\d.]+", lines[1])
    assert lines[2].startswith(f"{runs[1].path}: perplexity ")
    found, _ = evaluate(capsys, runs[0], *options[1:], "--confidence=0.9")
    low, high = found["perplexity_interval"]
    assert low < found["perplexity"] < high
    ratio = found["perplexity"] / found["compare"]["perplexity"]
    assert found["ratio_interval"][0] < ratio < found["ratio_interval"][1]


def test_a_notebook_evaluates_alike(runs, capsys):
    options = {"dynamic": "sgd", "cache_size": 20, "cache_weight": 0.2}
    typed = [f"--{name}={value}" for name, value in options.items()]
    expected = evaluate(capsys, runs[1], *typed)[0]["total_nats"]
    assert ptb_lm.load(runs[1].path).evaluate(**options).nats == expected


def test_score_has_the_tuned_constants_and_the_measured_gradients(
    corpus, tmp_path, capsys
):
    options = {"data_path": str(corpus), "batch_size": 2, "num_steps": 3}
    run = make_run(tmp_path / "run", **options)
    path = tmp_path / "text.txt"
    path.write_text("w1 w2 w1 w3 w2\n" * 4)
    adapted = ["--dynamic=rms", "--cache_size=20", f"--text_file={path}"]
    score = ["--mode=score", f"--save_path={run.path}", "--format=json", *adapted]
    assert run_ptb.main(score) == 2
    assert "has to measure the gradients first" in capsys.readouterr().err
    expected = evaluate(capsys, run, *adapted, "--tune")[0]["total_nats"]
    assert run_ptb.main(score) == 0
    found = json.loads(capsys.readouterr().out)["total_nats"]
    assert found == pytest.approx(expected, rel=1e-5)
    assert run_ptb.main([*score, "--cache_weight=0.5"]) == 0
    other = json.loads(capsys.readouterr().out)["total_nats"]
    assert other != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--runs={0},{other}"], "--runs: {other} has another vocabulary than {0}"),
        (
            ["--compare={other}", "--save_path={0}"],
            "--compare: {other} has another vocabulary than {0}",
        ),
        (
            ["--runs={0},{1}", "--mixture_weights=1,1,1"],
            "--mixture_weights: 3 weights for 2 members",
        ),
        (
            ["--runs={0},{1}", "--mixture=log", "--dynamic=sgd"],
            "--mixture=log: it mixes plain runs only",
        ),
        (
            ["--save_path={0}", "--mixture_weights=1,-1"],
            "--mixture_weights=1,-1: must be numbers separated by commas, none of them"
            " negative",
        ),
        (
            ["--save_path={0}", "--ngram_file={0}/none.arpa"],
            "{0}/none.arpa: No such file or directory",
        ),
        (
            ["--save_path={0}", "--confidence=0.95", "--counting=tutorial"],
            "--confidence: it needs --counting=exact",
        ),
        (
            ["--save_path={0}", "--dynamic=sgd", "--dynamic_rate=1e30"],
            "--dynamic: the weights diverge at the rate 1e+30; give a lower"
            " --dynamic_rate",
        ),
    ],
)
def test_a_mistake_is_one_line(runs, tmp_path, capsys, options, message):
    other = make_run(tmp_path / "other", vocabulary=type(VOCABULARY)(["<eos>", "x"]))
    places = [str(run.path) for run in runs]
    typed = [option.format(*places, other=other.path) for option in options]
    assert run_ptb.main(["--mode=evaluate", *typed]) == 2
    expected = message.format(*places, other=other.path)
    assert capsys.readouterr().err.strip() == f"run_ptb.py: {expected}"
