"""--mode=features, and the function of an export, beside LanguageModel.features."""

import numpy as np
import pytest
import tensorflow as tf

import ptb_lm
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.inference.opening import open_text_model
from tests.support.command_line import printed, table
from tests.support.models import make_run

TEXT = "w1 w2 w3\n\nw4\n" + "w5 " * 70 + "\nw6 cat\n"
LINES = [line for line in TEXT.split("\n") if line]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run").path


def expected(path, line):
    """Of one line in a batch of its own, after a line end."""
    run = ptb_lm.load(path)
    model = run.model()
    words = ["<eos>", *(w if w in run.vocabulary else "<unk>" for w in line.split())]
    ids = run.vocabulary.encode(words)[:, None]
    features, _ = model.features(model.embed(tf.constant(ids)), model.initial_state(1))
    return features.numpy()[1:, 0]


@pytest.mark.slow
def test_the_array_and_the_table_of_its_rows(path, tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    target = tmp_path / "states.npy"
    command = ["--mode=features", f"--save_path={path}", f"--features_path={target}"]
    command += [f"--text_file={tmp_path / 'text.txt'}"]
    beside = tmp_path / "states.tsv"
    assert printed(capsys, *command) == (
        f"{target}: float32 [76, 10]; {beside} says what the rows are\n"
    )
    array, rows = np.load(target), table((tmp_path / "states.tsv").read_text())
    of_lines = [expected(path, line) for line in LINES]
    assert array.dtype == np.float32 and len(rows) == len(array)
    np.testing.assert_allclose(array, np.concatenate(of_lines), atol=1e-6)
    assert [row["row"] for row in rows] == [str(n) for n in range(76)]
    assert [row["sentence_id"] for row in rows[:5]] == ["1", "1", "1", "3", "4"]
    assert [row["token"] for row in rows[-2:]] == ["w6", "<unk>"]
    assert rows[-1]["token_id"] == "2"

    printed(capsys, *command, "--pooling=mean")
    array, rows = np.load(target), table((tmp_path / "states.tsv").read_text())
    means = [each.mean(axis=0) for each in of_lines]
    np.testing.assert_allclose(array, means, atol=1e-6)
    assert [row["sentence_id"] for row in rows] == ["1", "3", "4", "5"]
    assert [row["tokens"] for row in rows] == ["3", "1", "70", "2"]
    assert rows[-1]["text"] == "w6 cat"


@pytest.mark.slow
def test_the_function_of_an_export(path, exported_run, saved_model):
    """Of a SavedModel and of a checkpoint; a text has its own features in any batch."""
    for model, place in ((saved_model, exported_run), (open_text_model(path), path)):
        found = model.features(LINES)
        assert found["lengths"].numpy().tolist() == [3, 1, 70, 2]
        assert found["unknown_tokens"].numpy().tolist() == [0, 0, 0, 1]
        assert found["tokens"].numpy()[3].tolist()[:3] == [b"w6", b"<unk>", b""]
        for number, line in enumerate(LINES):
            rows = found["features"].numpy()[number]
            wanted = expected(place, line)
            np.testing.assert_allclose(rows[: len(wanted)], wanted, atol=1e-6)
            assert not rows[len(wanted) :].any()
            mean = found["means"].numpy()[number]
            np.testing.assert_allclose(mean, wanted.mean(axis=0), atol=1e-6)
        empty = model.features(["", "w1"])
        assert empty["lengths"].numpy().tolist() == [0, 1]
        assert np.isnan(empty["means"].numpy()[0]).all()
    assert "features" in saved_model.signatures


@pytest.mark.slow
def test_a_run_from_python(path):
    run = ptb_lm.load(path)
    means = run.features(LINES, pooling="mean")
    for mean, line in zip(means, LINES, strict=True):
        np.testing.assert_allclose(mean, expected(path, line).mean(axis=0), atol=1e-6)
    assert np.isnan(run.features([""], pooling="mean")[0]).all()


@pytest.mark.slow
def test_a_vocabulary_without_a_line_end(tmp_path, capsys):
    """The first character is read from a zero state; what is unknown has no row."""
    options = {"token_type": "char", "normalize": "letters"}
    path = make_run(tmp_path / "run", Vocabulary([*" abc"]), **options).path
    target = tmp_path / "f.npy"
    command = ["--mode=features", f"--save_path={path}", f"--features_path={target}"]
    printed(capsys, *command, "--text=a zb")
    model = ptb_lm.load(path).model()
    ids = tf.constant([[1], [0], [2]])
    wanted, _ = model.features(model.embed(ids), model.initial_state(1))
    np.testing.assert_allclose(np.load(target), wanted.numpy()[:, 0], atol=1e-6)
    printed(capsys, *command, "--text=zzz")
    assert np.load(target).shape[0] == 0


def test_mistakes(path, tmp_path, fails):
    command = ["--mode=features", f"--save_path={path}"]
    line = fails(*command, "--features_path=states.txt")
    assert line == "--features_path=states.txt: must end in .npy"
    assert fails(*command, "--text= ") == "--text: no words to read"
    target = tmp_path / "nowhere" / "f.npy"
    line = fails(*command, "--text=w1", f"--features_path={target}")
    assert line.startswith(f"{target}: cannot write: No such file")
