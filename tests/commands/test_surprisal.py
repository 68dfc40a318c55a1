"""--mode=score for tables: units, unknown words, words of characters."""

import json
import math

import numpy as np
import pytest

import ptb_lm
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.inference.opening import open_text_model
from tests.support.command_line import printed, table
from tests.support.models import make_run

UNITS = {"e": ("nats", 1.0), "2": ("bits", math.log(2)), "10": ("hartleys", 2.302585)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run of words."""
    return make_run(tmp_path_factory.mktemp("runs") / "words").path


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    """A run of characters without <unk>."""
    place = tmp_path_factory.mktemp("runs") / "characters"
    return make_run(place, Vocabulary([*"\n abcd"]), token_type="char").path


@pytest.fixture
def write(tmp_path):
    """Writes a text file; gives the option that names it."""

    def written(text):
        (tmp_path / "text.txt").write_text(text)
        return f"--text_file={tmp_path / 'text.txt'}"

    return written


def score(capsys, path, *options):
    return printed(capsys, "--mode=score", f"--save_path={path}", *options)


@pytest.mark.slow
@pytest.mark.parametrize("base", UNITS)
def test_a_line_for_each_word_with_its_surprisal(path, write, capsys, base):
    """In the unit that the header names, beside what the SavedModel's function says."""
    unit, nats = UNITS[base]
    options = [write("w1 cat w2\n\nw3\n"), f"--log_base={base}"]
    rows = table(score(capsys, path, *options, "--each_line", "--format=tsv"))
    scored = open_text_model(path).score(["w1 cat w2", "w3"], context="\n")
    logs = scored["log_probabilities"].numpy()
    expected = [*logs[0], *logs[1, :2]]
    found = [float(row[f"surprisal_{unit}"]) for row in rows]
    np.testing.assert_allclose(found, -np.array(expected) / nats, rtol=1e-5)
    assert [row["token"] for row in rows] == ["w1", "cat", "w2", "<eos>", "w3", "<eos>"]
    assert [row["sentence_id"] for row in rows] == [*"111133"]
    assert [row["token_id"] for row in rows] == [*"123412"]
    assert [row["unknown"] for row in rows] == [*"010000"]

    lines = score(capsys, path, *options, "--each_line", "--format=json").splitlines()
    entry = json.loads(lines[0])
    np.testing.assert_allclose(entry[unit], found[:4], rtol=1e-6)
    assert entry[f"total_{unit}"] == pytest.approx(sum(found[:4]))
    assert entry["unknown_tokens"] == 1
    assert entry["perplexity"] == pytest.approx(math.exp(sum(found[:4]) * nats / 4))
    shown = score(capsys, path, options[1], "--text=w1 w2")
    assert shown.split()[2] == unit and f" {unit} a token; " in shown


@pytest.mark.slow
def test_one_text_of_several_lines(path, write, capsys):
    """The first word has no surprisal, and lines are counted as they stand there."""
    rows = table(score(capsys, path, write("w1 w2\n\nw3"), "--format=tsv"))
    assert [row["sentence_id"] for row in rows] == [*"111233"]
    assert [row["token_id"] for row in rows] == [*"123112"]
    assert rows[0]["surprisal_nats"] == "NA"
    total = sum(float(row["surprisal_nats"]) for row in rows[1:])
    entry = json.loads(score(capsys, path, write("w1 w2\n\nw3"), "--format=json"))
    assert entry["total_nats"] == pytest.approx(total, rel=1e-6)


@pytest.mark.slow
def test_unknown_words_may_be_left_out_of_the_sums(path, capsys):
    """They are read and shown all the same."""
    text = ["--text=w1 cat w2 <unk> w3", "--format=json"]
    every = json.loads(score(capsys, path, *text))
    some = json.loads(score(capsys, path, *text, "--nocount_unknown"))
    assert some["nats"] == every["nats"] and some["unknown_tokens"] == 2
    assert some["counted_tokens"] == every["counted_tokens"] - 2
    unknown = every["nats"][1] + every["nats"][3]
    assert some["total_nats"] == pytest.approx(every["total_nats"] - unknown)
    shown = score(capsys, path, text[0], "--nocount_unknown")
    assert "; 3 tokens counted; 2 unknown tokens not counted)" in shown


@pytest.mark.slow
def test_what_is_left_out_has_a_line_without_a_number(characters, write, capsys):
    rows = table(score(capsys, characters, write("az\tb"), "--format=tsv"))
    assert [row["token"] for row in rows] == ["a", "z", "\\t", "b"]
    assert [row["surprisal_nats"] == "NA" for row in rows] == [True, True, True, False]
    assert [row["unknown"] for row in rows] == [*"0110"]


@pytest.mark.slow
def test_characters_are_added_up_to_words(characters, write, capsys):
    """The blank or the line end after a word is in it, and the total is the same."""
    options = [write("ab  cd\na\n"), "--each_line"]
    rows = table(score(capsys, characters, *options, "--format=tsv"))
    words = table(score(capsys, characters, *options, "--format=tsv", "--by_word"))
    assert [row["word"] for row in words] == ["ab", "cd", "a"]
    assert [row["word_id"] for row in words] == [*"121"]
    nats = [float(row["surprisal_nats"]) for row in rows]
    assert [row["token"] for row in rows] == [*"ab  cd", "\\n", "a", "\\n"]
    expected = [sum(nats[:4]), sum(nats[4:7]), sum(nats[7:])]
    found = [float(row["surprisal_nats"]) for row in words]
    np.testing.assert_allclose(found, expected, rtol=1e-7)

    json_options = [*options, "--format=json"]
    lines = score(capsys, characters, *json_options).splitlines()
    by_word = score(capsys, characters, *json_options, "--by_word").splitlines()
    of_characters, of_words = (list(map(json.loads, x)) for x in (lines, by_word))
    for one, other in zip(of_characters, of_words, strict=True):
        assert one["total_nats"] == pytest.approx(other["total_nats"], rel=1e-15)
    assert of_words[0]["words"] == ["ab", "cd"]
    assert of_words[0]["counted_words"] == 2

    loaded = ptb_lm.load(characters).score(["ab  cd\n"], by_word=True)[0]
    assert [row.written for row in loaded.rows] == ["ab", "cd"]
    np.testing.assert_allclose(loaded.nats, found[:2], rtol=1e-5)


@pytest.mark.slow
def test_words_of_a_word_model_are_its_tokens(path, capsys):
    options = ["--text=w1 w2", "--format=tsv"]
    header, *rows = score(capsys, path, *options, "--by_word").splitlines()
    _, *same = score(capsys, path, *options).splitlines()
    assert rows == same
    assert header.split("\t") == [
        *("sentence_id", "word_id", "word", "surprisal_nats", "unknown")
    ]


@pytest.mark.slow
def test_lines_side_by_side_have_the_numbers_of_lines_alone(path, write, capsys):
    rng = np.random.default_rng(3)
    lines = [
        " ".join(f"w{n}" for n in rng.integers(0, 21, length))
        for length in [*rng.integers(1, 30, 140), 300]
    ]
    text = [write("".join(f"{line}\n" for line in lines)), "--each_line"]
    printed_lines = score(capsys, path, *text, "--format=json").splitlines()
    found = [json.loads(line)["total_nats"] for line in printed_lines]
    model = open_text_model(path)
    for number in [*range(0, 140, 20), 140]:
        line, total = lines[number], found[number]
        alone = model.score([line], context="\n")["log_probabilities"].numpy().sum()
        assert total == pytest.approx(-alone, rel=1e-5)


@pytest.mark.parametrize("mode", ["sample", "evaluate"])
def test_columns_are_for_the_modes_that_have_them(fails, mode):
    line = fails(f"--mode={mode}", "--format=tsv")
    assert line == f"--format=tsv: {mode} writes text or json"
