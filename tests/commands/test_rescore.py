"""--mode=rescore beside a reference that scores every sentence alone."""

import json

import numpy as np
import pytest

import ptb_lm
from tests.support.command_line import printed, table
from tests.support.models import make_run

LIST = """\
utt1\t-3.5\tw1 w2 w3
utt1\t-3.25\tw1 w2
utt2\t7\tw4
utt1\t-1e1\tw5 w6 w7 w8 w9

utt2\t7\t
utt2\t7.0\tw4
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def nbest(tmp_path):
    path = tmp_path / "nbest.tsv"
    path.write_text(LIST)
    return path


def log_probability(run, model, text):
    """Of one sentence in a batch of its own, from the logits."""
    ids = run.vocabulary.encode(["<eos>", *text.split(), "<eos>"])
    logits = model(ids[None, :-1])[0].numpy()[0].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logs[np.arange(len(ids) - 1), ids[1:]].sum()


def reference(path, score_weight, lm_weight, word_weight, unit):
    """(id, new score, text) in the order in which they must be printed."""
    run = ptb_lm.load(path)
    model, found = run.model(), {}
    for line in filter(str.strip, LIST.splitlines()):
        name, old, text = line.split("\t")
        score = score_weight * float(old)
        score += lm_weight * log_probability(run, model, text) / unit
        score += word_weight * len(text.split())
        found.setdefault(name, []).append((score, text))
    return [
        (name, score, text)
        for name, several in found.items()
        for score, text in sorted(several, key=lambda each: -each[0])
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, weights",
    [
        ([], (1, 1, 0, 1)),
        (
            ["--score_weight=0.5", "--lm_weight=2", "--word_weight=3", "--log_base=10"],
            (0.5, 2, 3, np.log(10)),
        ),
        (["--score_weight=-1", "--lm_weight=0"], (-1, 0, 0, 1)),
    ],
)
def test_the_best_hypothesis_of_each_id_comes_first(
    path, nbest, capsys, options, weights
):
    command = ["--mode=rescore", f"--save_path={path}", f"--text_file={nbest}"]
    lines = table(printed(capsys, *command, *options))
    expected = reference(path, *weights)
    assert [line["id"] for line in lines] == [name for name, _, _ in expected]
    scores = [float(line["score"]) for line in lines]
    np.testing.assert_allclose(scores, [score for _, score, _ in expected], rtol=1e-5)
    assert [line["text"] for line in lines] == [text for _, _, text in expected]
    unit = "hartleys" if "--log_base=10" in options else "nats"
    assert f"log_probability_{unit}" in lines[0]
    assert {line["words"] for line in lines} == {"0", "1", "2", "3", "5"}


@pytest.mark.slow
def test_json_has_an_object_for_each_id(path, nbest, capsys):
    command = ["--mode=rescore", f"--save_path={path}", f"--text_file={nbest}"]
    text = printed(capsys, *command, "--format=json", "--lm_weight=0")
    first, second = map(json.loads, text.splitlines())
    assert first["id"] == "utt1" and len(first["hypotheses"]) == 3
    assert first["hypotheses"][0]["text"] == "w1 w2"
    assert first["hypotheses"][0]["score"] == -3.25
    # Equal ones stay in their order.
    assert [each["text"] for each in second["hypotheses"]] == ["w4", "", "w4"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", ": no lines; an id, a score and a text are expected"),
        ("\n \n", ": no lines; an id, a score and a text are expected"),
        ("utt1\t-3\n", ", line 1: 2 columns; an id, a score and a text are expected"),
        ("u\t1\ta\nutt1 -3 a\n", ", line 2: 1 column; an id, a score and a text are"),
        ("u\t1\ta\tb\n", ", line 1: 4 columns; an id, a score and a text are expected"),
        ("u\t1\ta\r\n\r\nu\tx\tb", ", line 3: the score 'x' is not a number"),
        ("u\tnan\ta\n", ", line 1: the score 'nan' is not a number"),
        ("u\t-inf\ta\n", ", line 1: the score '-inf' is not a number"),
        ("u\t\ta\n", ", line 1: the score '' is not a number"),
    ],
)
def test_a_damaged_list_is_named_with_its_line(path, tmp_path, fails, text, message):
    file = tmp_path / "nbest.tsv"
    file.write_text(text)
    line = fails("--mode=rescore", f"--save_path={path}", f"--text_file={file}")
    assert line.startswith(f"{file}{message}")


def test_a_list_that_is_not_there(path, tmp_path, fails):
    missing = tmp_path / "nowhere"
    line = fails("--mode=rescore", f"--save_path={path}", f"--text_file={missing}")
    assert line == f"{missing}: cannot read: No such file or directory"
