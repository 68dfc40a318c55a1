"""Every preset trains, and its head says what it costs and what was published."""

import re

import pytest

import run_ptb
from ptb_lm.options import parse_sizes
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.presets import preset_config, preset_file, presets, published
from ptb_lm.training import finish
from tests.support.files import write_corpus

PTB_TOKENS, PTB_WORDS = 929_589, 10_000
PFLOP_AN_HOUR = 0.7  # of medium at 2,450 tokens a second, README's "Results"
SMALL = ["--hidden_size=6", "--batch_size=2", "--num_steps=6", "--max_max_epoch=1"]


def smaller(config):
    """Options that make a network tiny, and nothing else of it another."""
    sizes = parse_sizes(config.model.layer_sizes)
    options = [*SMALL, "--sample_tokens=0"]
    if sizes:
        options.append("--layer_sizes=" + ",".join(["6"] * len(sizes)))
    if config.model.embedding_size:
        options.append("--embedding_size=5")
    if config.model.mogrifier_rank:
        options.append("--mogrifier_rank=2")
    return options


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_read_as_the_command_line_reads_it(name):
    assert preset_config(name) == run_ptb.parse([f"--model={name}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", presets())
def test_a_preset_trains(name, tmp_path, monkeypatch):
    monkeypatch.setattr(finish, "export_run", lambda *_: None)  # takes long
    corpus, run = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    options = smaller(preset_config(name))
    places = [f"--data_path={corpus}", f"--save_path={run}"]
    assert run_ptb.main([f"--model={name}", *options, *places]) == 0
    results = RunFolder(run).read_results()
    assert results.finished and len(results.epochs) == 1
    assert results.epochs[0].step > 0


@pytest.mark.parametrize("name", presets())
def test_the_head_says_the_cost(name):
    from ptb_lm.training.cost import flop_of_equal_windows

    head, config = preset_file(name).read_text(), preset_config(name)
    stated = re.search(r"needs ([\d.]+) PFLOP, about (.*) hours? on two cores", head)
    if stated is None:
        assert "PFLOP" not in head
        return
    training = config.training
    steps = (PTB_TOKENS // training.batch_size - 1) // training.num_steps
    flop = flop_of_equal_windows(config, PTB_WORDS, steps * training.max_max_epoch)
    assert stated[1] == f"{flop / 1e15:.3g}"
    hours = 0.5 if stated[2] == "half an" else float(stated[2])
    assert hours == pytest.approx(flop / 1e15 / PFLOP_AN_HOUR, rel=0.1, abs=0.25)


def test_what_was_published():
    medium = published("medium")
    assert (medium.train, medium.valid, medium.test) == (48.45, 86.16, 82.07)
    pytorch = published("pytorch_650_tied")
    assert (pytorch.train, pytorch.valid, pytorch.test) == (None, None, 75.96)
    assert published("anna") is None
    for name in presets():
        head = preset_file(name).read_text()
        assert ("# Published:" in head) == (published(name) is not None), name
