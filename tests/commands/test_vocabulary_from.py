"""--vocabulary_from: another corpus by the vocabulary of a trained run."""

import shutil

import pytest

import run_ptb
from ptb_lm.config import Config
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.resuming import given_vocabulary
from tests.support.corpora import words_of
from tests.support.files import write_corpus

OTHER = "the dog sat down\n" * 40


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a run, as it is on disk, and a corpus with other words."""
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "other", train=OTHER, valid=OTHER, test=OTHER)
    vocabulary = Vocabulary(["the", "<eos>", "cat", "<unk>", "sat"])
    source = RunFolder(tmp_path / "source")
    source.open_for_training(Config.from_values({"data_path": "mine"}), vocabulary)
    source.close()
    return tmp_path


def corpus(**options):
    config = Config.from_values({"data_path": "other", "save_path": "run"} | options)
    return load_corpus(config.data, vocabulary=given_vocabulary(config))


def test_the_words_are_those_of_the_run(work):
    found = corpus(vocabulary_from="source")
    assert found.vocabulary == RunFolder(work / "source").vocabulary()
    assert words_of(found)["train"][:5] == ["the", "<unk>", "sat", "<unk>", "<eos>"]
    # The same text by its own vocabulary, from the same cache.
    assert words_of(corpus())["train"][:5] == ["the", "dog", "sat", "down", "<eos>"]
    assert words_of(corpus(vocabulary_from="source")) == words_of(found)
    assert corpus(data_path="").floor_perplexity is not None
    assert corpus(data_path="", vocabulary_from="source").floor_perplexity is None


def test_a_run_that_is_resumed_has_it_already(work):
    shutil.copytree(work / "source", work / "run")
    shutil.rmtree(work / "source")
    assert len(corpus(vocabulary_from="source").vocabulary) == 5


@pytest.mark.parametrize(
    "options, said",
    [
        (["--vocabulary_from=nowhere"], "nowhere: no run there (no flags.txt)"),
        (
            ["--vocabulary_from=source", "--token_type=char"],
            "--vocabulary_from=source: --token_type=word there, char here",
        ),
        (
            ["--vocabulary_from=source", "--max_vocab_size=9"],
            "--vocabulary_from=source: its vocabulary is given, so --max_vocab_size=9"
            " has no effect; set it to 0",
        ),
        (
            ["--vocabulary_from=source", "--min_count=3"],
            "--vocabulary_from=source: its vocabulary is given, so --min_count=3 has"
            " no effect; set it to 0",
        ),
    ],
)
def test_what_does_not_go_together(work, capsys, options, said):
    assert run_ptb.main(["--data_path=other", *options]) == 2
    assert capsys.readouterr().err == f"run_ptb.py: {said}\n"
    assert not (work / "runs").exists()


def test_a_word_that_the_run_lacks(work, capsys):
    """The size of the vocabulary is no way out: it is the run's."""
    known = Vocabulary(["the", "<eos>"])
    known.save(work / "source" / "vocabulary.json")
    assert run_ptb.main(["--data_path=other", "--vocabulary_from=source"]) == 2
    assert capsys.readouterr().err == (
        "run_ptb.py: other/train.txt, line 1: the word 'dog' is not in the vocabulary"
        " of source, which has no <unk> to stand for it\n"
    )


@pytest.mark.slow
def test_another_corpus_from_the_weights_of_a_run(work, capsys):
    """Refused by its own vocabulary; then trained, and resumed without the run."""
    write_corpus(work / "mine")
    small = ["--model=test", "--hidden_size=6", "--sample_tokens=0"]
    shutil.rmtree(work / "source")
    assert run_ptb.main([*small, "--data_path=mine", "--save_path=source"]) == 0
    capsys.readouterr()
    command = [*small, "--data_path=other", "--save_path=new", "--init_from=source"]
    assert run_ptb.main(command) == 2
    assert capsys.readouterr().err == (
        "run_ptb.py: --init_from=source: that run has another vocabulary;"
        " --vocabulary_from=source uses it for this corpus\n"
    )
    command.append("--vocabulary_from=source")
    assert run_ptb.main([*command, "--max_max_epoch=1"]) == 0
    assert "Started from the best weights of source" in capsys.readouterr().out
    shutil.rmtree(work / "source")
    assert run_ptb.main(["--save_path=new", "--max_max_epoch=2"]) == 0
    assert run_ptb.main(["--mode=evaluate", "--save_path=new", "--split=valid"]) == 0
    assert "other valid: perplexity" in capsys.readouterr().out
