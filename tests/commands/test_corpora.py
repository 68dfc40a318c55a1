"""What train and evaluate say of their texts."""

import dataclasses
import json
import os
import shutil

import pytest

import run_ptb
from ptb_lm.commands.corpora import corpus_lines, corpus_warnings
from ptb_lm.config import Config
from ptb_lm.data.corpus import load_corpus
from ptb_lm.runs.results import TextRecord
from tests.support.corpora import SPLITS, write_folder
from tests.support.models import VOCABULARY, make_run
from tests.support.results import RESULTS

LINES = "the cat sat\nthe dog sat\n" * 50


def said(path, **options):
    """(Lines, warnings) of a training on a corpus."""
    config = Config.from_values({"data_path": str(path)} | options)
    corpus = load_corpus(config.data)
    return list(corpus_lines(corpus, config)), list(corpus_warnings(corpus, config))


def test_a_corpus_of_known_words(tmp_path):
    folder = write_folder(tmp_path / "own", dict.fromkeys(SPLITS, LINES), "")
    assert said(folder, batch_size=10) == (
        ["Corpus own: 400 train, 400 valid, 400 test tokens; 5 words"],
        [],
    )


def test_a_corpus_that_brings_its_unk(tmp_path):
    """As much as it has of it, it warns of nothing."""
    texts = {split: "a <unk> <unk>\n" * 200 for split in SPLITS}
    lines, warnings = said(write_folder(tmp_path, texts))
    assert lines[1:] == ["<unk> is 50 % of train, 50 % of valid, 50 % of test"]
    assert not warnings


def test_prose_of_ones_own(tmp_path):
    texts = {split: f"{LINES}once {split}\n" * 2 for split in ("valid", "test")}
    texts["train"] = f"{LINES}once upon\n"
    lines, warnings = said(write_folder(tmp_path / "own", texts, ""))
    assert lines == [
        "Corpus own: 403 train, 806 valid, 806 test tokens; 6 words",
        "<unk> is 0.496 % of train, 0.496 % of valid, 0.496 % of test: words that train"
        " has once, or not at all (see --min_count)",
    ]
    assert not warnings
    lines, _ = said(tmp_path / "own", min_count=2)
    assert lines[1] == "<unk> is 0.496 % of train, 0.496 % of valid, 0.496 % of test"


def test_many_unknown_words(tmp_path):
    texts = {"train": f"{LINES}once\n", "valid": LINES, "test": "a b the cat\n"}
    _, warnings = said(write_folder(tmp_path, texts), batch_size=1)
    assert warnings == [
        "40 % of test is unknown and read as <unk>, which is easy to predict: compare"
        " the perplexity only with others of this text and vocabulary"
    ]


@pytest.mark.parametrize("token_type", ["word", "char"])
def test_an_unk_that_is_never_seen(tmp_path, token_type):
    folder = write_folder(tmp_path, dict.fromkeys(SPLITS, LINES))
    options = {"token_type": token_type, "max_vocab_size": 1000}
    _, (warning,) = said(folder, **options)
    kind = {"word": "words", "char": "characters"}[token_type]
    # There are 50 of dog, and of d.
    assert warning == (
        "train has no <unk>, so that the model cannot learn it; --min_count=51 makes"
        f" <unk> of the rarest {kind}"
    )
    _, warnings = said(folder, **options, min_count=51)
    assert not [warning for warning in warnings if "learn" in warning], "it helps"


def test_a_text_of_few_blanks(tmp_path):
    verse = "床前明月光、疑是地上霜。\n舉頭望明月、低頭思故鄉。\n"
    folder = write_folder(tmp_path, dict.fromkeys(SPLITS, verse * 40))
    for _ in range(2):  # from the cache too
        _, (warning,) = said(folder)
        assert warning == (
            "a word of this text has 12 characters on average: if it has few blanks, as"
            " Chinese has, use --token_type=char"
        )
    assert said(folder, token_type="char")[1] == []


@pytest.mark.parametrize("tokens, is_short", [(420, False), (419, True)])
def test_a_valid_text_that_is_too_short_for_a_window(tmp_path, tokens, is_short):
    texts = dict.fromkeys(SPLITS, "a " * 999)
    folder = write_folder(tmp_path, texts | {"valid": "a " * (tokens - 1)})
    lines, _ = said(folder, batch_size=20, num_steps=20)
    assert lines[1:] == is_short * [
        "valid is too short for a window of 20 by 20 tokens: it is scored in one"
        " stream, and none of its tokens is left out"
    ]


# --- A whole training -------------------------------------------------------------


@pytest.mark.slow
def test_a_short_text_of_ones_own_can_be_trained_on(tmp_path, capsys):
    """Prose as it is, in one file: unknown words, few lines to validate on."""
    text = "".join(f"the cat {word} there and sat\n" for word in range(60))
    (tmp_path / "my.txt").write_text(text)
    options = [f"--data_path={tmp_path}/my.txt", f"--save_path={tmp_path}/run"]
    options += ["--model=test", "--batch_size=4", "--num_steps=15"]
    assert run_ptb.main(options) == 0
    printed = capsys.readouterr()
    assert "<unk> is " in printed.out and "in one stream" in printed.out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    texts = results["texts"]
    assert [texts[split]["tokens"] for split in SPLITS] == [378, 21, 21]
    assert texts["test"]["unknown_share"] == 1 / 7
    scores = results["last_weights"]
    assert scores["valid_perplexity"] == scores["valid_perplexity_exact"]
    # The same numbers by evaluate, whatever is typed; then the file changes.
    evaluate = ["--mode=evaluate", f"--save_path={tmp_path}/run", "--split=valid"]
    assert run_ptb.main([*evaluate, "--counting=tutorial", "--weights=last"]) == 0
    printed = capsys.readouterr()
    assert f"perplexity {scores['valid_perplexity']:.3f} " in printed.out
    assert "counted the exact way; 14.3 % of the text is <unk>; last" in printed.out
    assert printed.err.count("\n") == 1 and "14.3 % of my valid is" in printed.err
    (tmp_path / "my.txt").write_text(text + "the cat sat\n" * 20)
    assert run_ptb.main(evaluate) == 0
    assert "my valid has changed since the training" in capsys.readouterr().err


# --- evaluate ---------------------------------------------------------------------


@pytest.fixture
def own_run(tmp_path):
    """A run on a corpus of its own, with results."""
    folder = write_folder(tmp_path / "own", dict.fromkeys(SPLITS, "w1 w2\nw3\n"))
    run = make_run(tmp_path / "run", data_path=str(folder))
    corpus = load_corpus(Config.from_values({"data_path": str(folder)}).data)
    ids = VOCABULARY.encode(corpus.vocabulary.decode(corpus.splits["test"]))
    corpus = dataclasses.replace(corpus, splits={"test": ids})
    text = TextRecord(len(ids), 0.0, corpus.split_digests["test"])
    run.write_results(dataclasses.replace(RESULTS, texts={"test": text}))
    return run


@pytest.fixture
def evaluate(own_run, capsys):
    def run(*options, status=0):
        capsys.readouterr()
        arguments = ["--mode=evaluate", f"--save_path={own_run.path}", *options]
        assert run_ptb.main(arguments) == status
        return capsys.readouterr()

    return run


def test_evaluate_notices_that_the_text_has_changed(own_run, evaluate, tmp_path):
    own = tmp_path / "own"
    assert evaluate().err == evaluate(f"--data_path={own}").err == ""
    shutil.copytree(own, tmp_path / "moved")
    for text, tokens in (("w1 w2\nw4\n", 5), ("w1 w2\nw4\nw5\n", 7)):
        write_folder(own, {"test": text})
        expected = (
            "run_ptb.py: own test has changed since the training (5 tokens then,"
            f" {tokens} now)\n"
        )
        assert evaluate().err == evaluate(f"--data_path={own}").err == expected
    # Where another text is asked for, and where none is known.
    assert evaluate(f"--data_path={tmp_path}/moved").err == ""
    write_folder(tmp_path / "moved", {"test": "w6\n"})
    assert evaluate(f"--data_path={tmp_path}/moved").err == ""
    assert evaluate("--split=valid").err == ""
    own_run.write_results(dataclasses.replace(RESULTS, texts={}))
    assert evaluate().err == ""


def test_evaluate_tells_the_share_of_unknown_words(evaluate, tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("w1 nowhere w2 <unk>\n")
    printed = evaluate(f"--text_file={path}")
    assert "; 40 % of the text is <unk>; best weights of " in printed.out
    assert printed.err == (
        f"run_ptb.py: 20 % of {path} is unknown and read as <unk>, which is easy to"
        " predict: compare the perplexity only with others of this text and"
        " vocabulary\n"
    )
    path.write_text("w1 w2 " * 99 + "nowhere")  # less than 2 %
    assert evaluate(f"--text_file={path}").err == ""


def test_evaluate_reads_a_pipe_as_a_file(evaluate, tmp_path):
    """As `--text_file=<(zcat my.gz)` gives it."""
    path = tmp_path / "my.txt"
    path.write_text("w1 w2\nw3 w1\n" * 20)
    expected = evaluate(f"--text_file={path}").out
    read, write = os.pipe()
    os.write(write, path.read_bytes())
    os.close(write)
    name = f"/dev/fd/{read}"
    assert evaluate(f"--text_file={name}").out == expected.replace(str(path), name)
    os.close(read)


def test_evaluate_may_leave_unknown_words_out(evaluate, tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("w1 nowhere w2 <unk>\n")
    printed = evaluate(f"--text_file={path}", "--unknown=skip")
    assert "3 tokens, counted the exact way; 1 unknown token left out;" in printed.out
    assert printed.err == (
        f"run_ptb.py: 20 % of {path} is unknown and left out: compare the perplexity"
        " with none that counts such tokens\n"
    )
    printed = evaluate(f"--text_file={path}", "--unknown=error", status=2)
    assert "line 1: the word 'nowhere' is not in the vocabulary;" in printed.err
