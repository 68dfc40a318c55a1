"""--mode=pairs: models that are right, that are wrong, and that cannot tell."""

import json

import numpy as np
import pytest

import run_ptb
from ptb_lm.config import Config
from ptb_lm.data.corpus import load_corpus
from ptb_lm.runs.checkpoint import CheckpointFolder
from tests.support.command_line import printed, table
from tests.support.models import VOCABULARY, make_run

PAIRS = """\
w1 w2\tw3\tshort
w3\tw1 w2\tshort
w1 w2\tw1 w2\tsame
w4 cat\tw4 w5\tunknown
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(PAIRS)
    return path


def without_opinion(path, vocabulary=VOCABULARY):
    """A run whose model gives every token the same probability."""
    folder = make_run(path, vocabulary)
    checkpoints = CheckpointFolder(folder.path / "checkpoints")
    arrays = dict(checkpoints.load("best").arrays)
    for name in ("model/softmax_kernel", "model/softmax_bias"):
        arrays[name] = np.zeros_like(arrays[name])
    checkpoints.save(2, arrays, {}, best=True)
    return folder.path


@pytest.mark.slow
def test_a_pair_is_right_if_the_good_sentence_is_likelier(path, pairs, capsys):
    """As --mode=score says of each sentence; of equal ones, neither is."""
    command = [f"--save_path={path}", f"--text_file={pairs}"]
    rows = table(printed(capsys, "--mode=pairs", *command, "--format=tsv"))
    sentences = [line.split("\t")[:2] for line in PAIRS.splitlines()]
    text = pairs.with_name("sentences.txt")
    text.write_text("".join(f"{good}\n{bad}\n" for good, bad in sentences))
    score = ["--mode=score", f"--save_path={path}", "--each_line", "--format=json"]
    lines = printed(capsys, *score, f"--text_file={text}").splitlines()
    totals = [json.loads(line)["total_nats"] for line in lines]
    for row, good, bad in zip(rows, totals[::2], totals[1::2], strict=True):
        assert float(row["good_surprisal_nats"]) == pytest.approx(good, rel=1e-6)
        assert float(row["bad_surprisal_nats"]) == pytest.approx(bad, rel=1e-6)
        assert row["correct"] == str(int(good < bad))
    # One of a pair and its reverse is right, and none of a sentence with itself.
    assert [row["correct"] for row in rows][2] == "0"
    assert {rows[0]["correct"], rows[1]["correct"]} == {"0", "1"}
    assert [row["unknown"] for row in rows] == ["0", "0", "0", "1"]

    entry = json.loads(printed(capsys, "--mode=pairs", *command, "--format=json"))
    groups = {group["group"]: group for group in entry["groups"]}
    assert groups["short"] == {
        **{"group": "short", "pairs": 2, "correct": 1, "accuracy": 0.5}
    }
    assert groups["same"]["accuracy"] == 0
    assert entry["pairs"] == 4 and entry["unknown_pairs"] == 1
    assert entry["correct"] == sum(row["correct"] == "1" for row in rows)

    lines = printed(capsys, "--mode=pairs", *command).splitlines()
    assert lines[0].split() == ["group", "pairs", "correct", "accuracy"]
    assert lines[1].split() == ["short", "2", "1", "50.00%"]
    assert lines[4].split()[:2] == ["all", "4"]
    assert lines[5] == "1 of the pairs have unknown words"


@pytest.mark.slow
def test_a_model_without_opinion_is_never_right(tmp_path, capsys):
    """All sentences of a pair are as likely: ties, in batches of every size."""
    vocabulary = load_corpus(Config().data).vocabulary
    path = without_opinion(tmp_path / "run", vocabulary)
    command = ["--mode=pairs", f"--save_path={path}", "--num_pairs=40"]
    lines = printed(capsys, *command).splitlines()
    assert lines[0].split() == ["attractors", "pairs", "correct", "accuracy"]
    for line, group in zip(lines[1:4], "012", strict=True):
        assert line.split() == [group, "40", "0", "0.00%"]
    assert lines[4].split() == ["all", "120", "0", "0.00%"]


@pytest.mark.long
def test_a_trained_model_knows_agreement(tmp_path, capsys):
    """1,000 pairs each, of the network that the first command of README trains."""
    path = tmp_path / "run"
    assert run_ptb.main([f"--save_path={path}", "--max_max_epoch=6"]) == 0
    command = ["--mode=pairs", f"--save_path={path}", "--format=json"]
    entry = json.loads(printed(capsys, *command))
    groups = {group["group"]: group for group in entry["groups"]}
    assert [group["pairs"] for group in groups.values()] == [1000] * 3
    assert groups["0"]["accuracy"] >= 0.95


@pytest.mark.slow
def test_another_language_than_the_built_in_one(path, fails):
    line = fails("--mode=pairs", f"--save_path={path}", "--num_pairs=3")
    assert line.startswith("the model does not know the language of the built-in pairs")
    assert "--text_file" in line


@pytest.mark.parametrize(
    "text, message",
    [
        ("", ": no lines; a good sentence, a bad one and perhaps a group are expected"),
        ("a\tb\na b\n", ", line 2: 1 column; a good sentence, a bad one"),
        ("a\tb\tc\td\n", ", line 1: 4 columns; a good sentence, a bad one"),
        ("a\tb\n\n \tb\n", ", line 3: a sentence without words"),
    ],
)
def test_a_damaged_list_is_named_with_its_line(path, tmp_path, fails, text, message):
    file = tmp_path / "pairs.tsv"
    file.write_text(text)
    line = fails("--mode=pairs", f"--save_path={path}", f"--text_file={file}")
    assert line.startswith(f"{file}{message}")
