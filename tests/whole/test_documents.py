"""The documents and the results tables say what the code does and what was measured."""

import json
import re

import pytest

import run_ptb
from ptb_lm.config import RETIRED, Config, option_groups
from ptb_lm.registry import SCHEDULES
from ptb_lm.reports.not_run import not_run_table
from ptb_lm.reports.recorded import read_runs
from ptb_lm.reports.table import results_table
from tests.support.documents import DOCUMENTS, PROJECT, README, marked, prose
from tests.support.evaluations import evaluations_table, recorded_evaluations

BUILD = DOCUMENTS["BUILD.md"]
RESULTS = PROJECT / "results"
SCHEDULE_NOTE = "recorded with `--schedule=tutorial`"


def is_full(run):
    """Whether a run has trained on the Penn Treebank's words as its preset asks.

    A schedule that follows the length of the training is whole at any length.
    """
    preset = run_ptb.parse([f"--model={run.config.run.model}"])
    training = run.config.training
    return (
        run.results.corpus == "ptb"
        and run.config.data.token_type == "word"
        and run.results.finished
        and (
            SCHEDULES[training.schedule].follows_length
            or training.max_max_epoch >= preset.training.max_max_epoch
        )
    )


def test_results_tables_are_the_ones_that_the_runs_make():
    """The Penn Treebank's words at the full schedule, and all else apart."""
    runs = read_runs(RESULTS).runs
    full = [run for run in runs if is_full(run)]
    other = [run for run in runs if not is_full(run)]
    assert full and other
    assert marked(README, "results") == results_table(full)
    assert marked(README, "other runs") == results_table(other)
    assert marked(README, "not run") == not_run_table(runs)


def test_runs_by_another_schedule_than_the_published_one_have_a_note():
    schedules = {
        run.config.training.schedule for run in read_runs(RESULTS).runs if is_full(run)
    }
    text = " ".join(prose(README).split())
    assert (SCHEDULE_NOTE in text) == (schedules != {"zaremba"})


def test_the_evaluations_are_the_recorded_ones():
    records = recorded_evaluations()
    assert records
    for record in records.values():
        assert record["text"] == "ptb test" and record["counting"] == "exact"
        assert record["weights"] == "best"
    assert marked(README, "evaluations") == evaluations_table()


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    import benchmark

    return benchmark


def test_speed_tables_are_the_recorded_ones(benchmark):
    shown = marked(DOCUMENTS["benchmarks/README.md"], "speed")
    assert shown == benchmark.tables(benchmark.recorded()) + "\n"


def speed_in_brief(benchmark):
    """The sentences of README on the recorded benchmarks."""
    sentences = []
    for record in benchmark.recorded().values():
        ratio = {
            benchmark.name_of(row): f"{row['ratios']['pytorch']['median']:.2f}"
            for row in record["rows"]
        }
        sentences.append(
            f"On {benchmark.heading(record)}, training runs at"
            f" {ratio['small, train']} (small), {ratio['medium, train']} (medium) and"
            f" {ratio['large, train']} (large) times the speed of PyTorch, exact"
            f" evaluation of medium at {ratio['medium, evaluate']} times, and sampling"
            f" from it at {ratio['medium, sample']} times."
        )
    return " ".join(sentences)


def test_speed_in_brief_is_the_recorded_one(benchmark):
    shown = " ".join(marked(README, "speed").split())
    assert shown == speed_in_brief(benchmark)


def test_mnist_figures_are_the_recorded_ones():
    path = PROJECT / "results" / "mnist-rows" / "mnist_rows.json"
    record = json.loads(path.read_text())
    scores = [f"{run['test_accuracy']:.2%}" for run in record["runs"]]
    seeds = [str(run["seed"]) for run in record["runs"]]
    assert marked(DOCUMENTS["examples/README.md"], "mnist") == (
        f"Test accuracy {record['mean_test_accuracy']:.2%}, the mean of"
        f" {', '.join(scores)} (seeds {', '.join(seeds)}).\n"
    )
    assert record["mean_test_accuracy"] >= 0.93
    expected = {"train": 8000, "test": 2000, "iterations": 300, "batch_size": 128}
    expected |= {"units": 128, "learning_rate": 0.001}
    assert record.items() >= expected.items()


def test_ci_calls_the_test_command_of_the_readme():
    command = next(line for line in README.splitlines() if "/pytest -n" in line)
    assert command in (PROJECT / ".ci" / "run").read_text().splitlines()


def test_every_flag_in_the_documents_exists():
    names = {field.name for _, fields in option_groups() for field in fields}
    names |= {"help", "helpfull", "version", "flagfile"} | {*RETIRED}
    names |= {"logdir"}  # of TensorBoard
    names |= {"dist"}  # of pytest-xdist
    names |= {"rounds", "rows", "show", "torch_python"}  # of the benchmarks
    names |= {"other", "set"}  # of benchmarks/revisions.py
    names |= {"out"}  # of the example with MNIST
    names |= {"rest_api_port", "model_base_path", "model_name"}  # of the server
    others = r"(?m)^.*\b(saved_model_cli|pip|ruff|git|pre-commit)\b.*$"
    for document, text in DOCUMENTS.items():
        for name in re.findall(r"--([a-z0-9_]+)", re.sub(others, "", text)):
            assert name in names, f"{document}: --{name}"


def test_every_room_is_on_the_map():
    """Each module and folder of ptb_lm/ has a line on BUILD.md's map, and no other."""
    rooms = {
        path.name + "/" * path.is_dir()
        for path in (PROJECT / "ptb_lm").iterdir()
        if path.name not in ("__init__.py", "__pycache__")
    }
    shown = re.findall(r"(?m)^    ([a-z_]+(?:\.py|/)) ", marked(BUILD, "map"))
    assert sorted(shown) == sorted(rooms)


def anchors(text):
    """The anchors of a document's headings, as GitHub makes them."""
    found = re.findall(r"(?m)^#+ (.*)$", prose(text))
    return {re.sub(r"[^a-z0-9 _-]", "", h.lower()).replace(" ", "-") for h in found}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    for link in re.findall(r"\]\(([^)]+)\)", prose(DOCUMENTS[document])):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        page = PROJECT / document
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            name = str(target.relative_to(PROJECT))
            assert anchor in anchors(DOCUMENTS[name]), link


@pytest.mark.parametrize(
    "preset", sorted(path.stem for path in (PROJECT / "flags").glob("*.flags"))
)
def test_presets_are_valid(preset):
    assert run_ptb.parse([f"--model={preset}"]).run.model == preset


def test_flags_of_a_run_are_the_configuration():
    config = run_ptb.parse(["--model=medium", "--tied", "--seed=5"])
    assert Config.from_text(config.to_text(), "text") == config
