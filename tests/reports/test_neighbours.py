"""Nearest words by cosine, beside a loop that computes them one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.reports.neighbours import nearest, neighbours_table
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.trained_run import TrainedRun


def cosine(a, b):
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


@settings(deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 20), st.integers(0, 2**32 - 1)
)
def test_nearest(rows, width, count, seed):
    generator = np.random.default_rng(seed)
    embedding = generator.integers(-3, 4, (rows, width)).astype(np.float32)
    ids = generator.integers(0, rows, 3)
    table = embedding.astype(float).tolist()
    found, cosines = nearest(embedding, ids, count)
    assert found.shape == cosines.shape == (3, min(count, rows - 1))
    for row, near, values in zip(ids, found.tolist(), cosines.tolist(), strict=True):
        assert row not in near and len(set(near)) == len(near)
        others = {r: cosine(table[row], table[r]) for r in range(rows)}
        del others[int(row)]
        assert values == pytest.approx([others[r] for r in near], abs=1e-12)
        best = sorted(others.values(), reverse=True)[: len(near)]
        assert values == pytest.approx(best, abs=1e-12)


@pytest.fixture
def folder(tmp_path):
    """A run of five words: two and three point the same way, as do may and june."""
    run = RunFolder(tmp_path / "run")
    run.open_for_training(
        Config(), Vocabulary(["two", "three", "may", "june", "<unk>"])
    )
    rows = [[1, 0.1], [1, 0.2], [0.1, 1], [0.2, 1], [-1, -1]]
    arrays = {"model/embedding": np.array(rows, np.float32)}
    run.checkpoints.save(1, arrays, {}, best=True)
    run.close()
    return run


def test_table(folder):
    table = neighbours_table(
        TrainedRun(folder.path, "best"), ["two", "<unk>"], 1
    ).splitlines()
    assert table[0].count("|") == table[1].count("|") == 3
    assert table[2] == "| two | three 1.00 |"
    assert table[3].startswith("| `<unk>` | ")
    whole = neighbours_table(TrainedRun(folder.path, "last"), [], 10).splitlines()
    assert [line.split()[1] for line in whole[2:]] == [
        "two", "three", "may", "june", "`<unk>`"
    ]  # fmt: skip
    assert whole[4].startswith("| may | june 1.00, ")


def test_unknown_words_are_named(folder):
    with pytest.raises(UserError, match=r"not in the vocabulary: zebra, yak$"):
        neighbours_table(TrainedRun(folder.path, "best"), ["two", "zebra", "yak"], 3)


def test_a_run_without_weights(folder):
    for path in (folder.path / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="train first"):
        neighbours_table(TrainedRun(folder.path, "best"), [], 3)


@pytest.mark.parametrize("size", [3, 9])
def test_an_embedding_of_another_vocabulary(folder, size):
    tokens = [f"w{number}" for number in range(size)]
    Vocabulary(tokens).save(folder.path / "vocabulary.json")
    with pytest.raises(UserError, match=f"no embedding of {size} tokens"):
        neighbours_table(TrainedRun(folder.path, "best"), [], 3)
