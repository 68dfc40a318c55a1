"""n-grams of a run's training text, as an export."""

import json
import random

import numpy as np
import pytest

import run_ptb
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.evaluation.arpa import read_arpa
from ptb_lm.evaluation.ngrams import estimate
from tests.support.files import SPLITS, write_corpus
from tests.support.models import make_run


@pytest.fixture
def trained(tmp_path):
    """A run, and its corpus: words that like to follow each other."""
    draw = random.Random(1)
    starts = [draw.randrange(5) for _ in range(300)]
    text = "".join(f"w{n} w{n + 1} w{n * draw.randrange(3)}\n" for n in starts)
    path = write_corpus(tmp_path / "corpus", **dict.fromkeys(SPLITS, text))
    options = {"data_path": str(path), "batch_size": 2, "num_steps": 3}
    corpus = load_corpus(run_ptb.parse([f"--data_path={path}"]).data)
    return make_run(tmp_path / "run", corpus.vocabulary, **options), corpus


@pytest.mark.parametrize("options, order", [([], 5), (["--ngram_order=3"], 3)])
def test_the_file_holds_the_ngrams_of_the_training_text(
    trained, capsys, options, order
):
    folder, corpus = trained
    command = ["--mode=export", f"--save_path={folder.path}", "--export_format=arpa"]
    assert run_ptb.main([*command, *options]) == 0
    path = folder.path / "ngrams.arpa"
    assert capsys.readouterr().out == (
        f"{path}: {order}-grams of the training text; kenlm.Model('{path}')\n"
    )
    ids, vocabulary = corpus.splits["train"], corpus.vocabulary
    line_end = vocabulary.tokens.index("<eos>")
    expected = estimate(ids, order, len(vocabulary), line_end)
    found = read_arpa(path, vocabulary)
    assert found.order == order
    text = np.random.default_rng(2).integers(0, len(vocabulary), 200)
    np.testing.assert_allclose(
        found.log_probs(text), expected.log_probs(text), rtol=0, atol=3e-6
    )


@pytest.mark.slow
def test_evaluate_reads_it_as_what_it_would_estimate(trained, capsys):
    folder, _ = trained
    export = ["--mode=export", f"--save_path={folder.path}", "--export_format=arpa"]
    assert run_ptb.main([*export, "--ngram_order=2"]) == 0
    evaluate = ["--mode=evaluate", f"--save_path={folder.path}", "--format=json"]
    evaluate += ["--mixture_weights=0,1"]
    capsys.readouterr()
    for source in ("--ngram_order=2", f"--ngram_file={folder.path / 'ngrams.arpa'}"):
        assert run_ptb.main([*evaluate, source]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["perplexity"] == pytest.approx(second["perplexity"], rel=1e-5)


def test_characters_cannot_be_written(tmp_path, capsys):
    path = write_corpus(tmp_path / "corpus", **dict.fromkeys(SPLITS, "a b\n" * 9))
    options = {"data_path": str(path), "token_type": "char"}
    folder = make_run(tmp_path / "run", Vocabulary([*" \nab"]), **options)
    command = ["--mode=export", f"--save_path={folder.path}", "--export_format=arpa"]
    assert run_ptb.main(command) == 2
    assert "ARPA files cannot hold the token ' '" in capsys.readouterr().err
    assert not (folder.path / "ngrams.arpa").exists()
