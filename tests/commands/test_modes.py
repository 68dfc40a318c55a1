"""Modes: members of a registry, each with the options that it reads."""

import dataclasses
import pathlib
import shutil

import pytest

import run_ptb
from ptb_lm.commands.mode import Mode
from ptb_lm.config import Config, option_groups
from ptb_lm.options import format_value
from ptb_lm.registry import MODES
from tests.support.files import SPLITS, write_corpus

ROOT = pathlib.Path(run_ptb.__file__).parent
OPTIONS = [option for _, group in option_groups() for option in group]
NAMES = {option.name for option in OPTIONS}


@pytest.fixture
def hello():
    """A mode from outside the package, which reads one option."""
    run = lambda config: print(config.training.seed) or 7  # noqa: E731
    MODES.register("hello", Mode(run, reads=("seed",)))
    yield
    MODES.unregister("hello")


@pytest.mark.parametrize("name", list(MODES))
def test_every_mode_is_a_member(name):
    assert MODES[name].run.__name__ == "run"
    assert run_ptb.parse([f"--mode={name}"]).run.mode == name


def test_a_mode_from_outside(hello, capsys):
    assert run_ptb.main(["--mode=hello", "--seed=5"]) == 7
    assert capsys.readouterr().out == "5\n"


def test_an_unknown_mode(capsys):
    assert run_ptb.main(["--mode=hello"]) == 2
    assert "--mode=hello: must be one of train, " in capsys.readouterr().err


# --- Options that have no effect -----------------------------------------------


def test_every_option_is_read_by_a_mode():
    """And every mode names options that there are."""
    read = {name: MODES[name].options for name in MODES}
    assert set().union(*read.values()) == NAMES
    for mode in MODES:
        for option, replaced in MODES[mode].replaces.items():
            assert {option, *replaced} <= read[mode]


@pytest.mark.parametrize("mode", list(MODES))
def test_an_option_of_another_mode_is_refused(fails, mode):
    for option in OPTIONS:
        if option.name in MODES[mode].options:
            continue
        value = format_value(option.default)
        readers = [name for name in MODES if option.name in MODES[name].options]
        assert fails(f"--mode={mode}", f"--{option.name}={value}") == (
            f"--{option.name}={value} has no effect with --mode={mode}; it is for"
            f" {', '.join(readers)}"
        )


def test_a_mode_from_outside_reads_what_it_says(hello, fails):
    assert fails("--mode=hello", "--words=a").endswith("it is for neighbours")
    assert fails("--mode=export", "--seed=3").endswith(
        "it is for train, sample, pairs, hello"
    )


@pytest.mark.parametrize(
    "typed, said",
    [
        (["sample", "--save_path=x", "--model=small"], "--model=small"),
        (["score", "--save_path=x", "--data_path=d"], "--data_path=d"),
        (["evaluate", "--save_path=x", "--model=small"], "--model=small"),
    ],
)
def test_what_finds_a_run_is_not_read_beside_its_folder(fails, typed, said):
    mode, *options = typed
    line = fails(f"--mode={mode}", *options)
    assert line == f"{said} has no effect with --save_path=x"


@pytest.mark.parametrize(
    "typed, said",
    [
        (
            ["--mode=evaluate", "--text_file=f", "--split=valid"],
            "--split=valid has no effect with --text_file=f",
        ),
        (
            ["--mode=score", "--text_file=f", "--text=a b"],
            "--text_file=f has no effect with --text=a b",
        ),
    ],
)
def test_an_option_that_another_replaces(fails, typed, said):
    assert fails(*typed) == said


@pytest.mark.parametrize(
    "typed",
    [
        ["--mode=evaluate", "--save_path=x", "--data_path=d"],
        ["--mode=sample", "--model=small", "--data_path=d"],
        ["--mode=score", "--text_file=f", "--text=-"],
        ["--mode=sample", "--save_path=", "--model=small"],
    ],
)
def test_options_that_have_an_effect(typed):
    assert run_ptb.parse(typed)


def test_only_typed_options_count(tmp_path):
    """A preset and a flagfile serve every mode."""
    path = tmp_path / "my.flags"
    path.write_text("--hidden_size=30\n--temperature=0.5\n")
    for mode in MODES:
        parsed = run_ptb.parse([f"--mode={mode}", f"--flagfile={path}"])
        assert parsed.model.hidden_size == 30
    record = ROOT / "results" / "small" / "flags.txt"
    assert run_ptb.parse(["--mode=evaluate", f"--flagfile={record}", "--save_path=x"])


# --- What the code of a mode reads ----------------------------------------------


class Spy:
    """A group of options that notes which of them are read."""

    def __init__(self, group, read):
        self._group, self._read = group, read

    def __getattr__(self, name):
        if name in NAMES:
            self._read.add(name)
        derived = getattr(type(self._group), name, None)
        if isinstance(derived, property):  # it reads options itself
            return derived.fget(self)
        return getattr(self._group, name)


def options_read(mode, **values):
    """The options that a mode reads when it runs."""
    config, read = Config.from_values(values), set()
    groups = {
        field.name: Spy(getattr(config, field.name), read)
        for field in dataclasses.fields(config)
    }
    assert MODES[mode].run(Config(**groups)) == 0
    return read


ADAPTED = {
    "data_path": "corpus",
    "dynamic": "rms",
    "cache_size": 3,
    "ngram_order": 2,
    "compare": "runs/small-corpus",
    "confidence": 0.9,
    "tune": True,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode, commands",
    [
        ("sample", [{"prompt": "w1"}, {"prompt": "w1", "format": "json"}]),
        (
            "score",
            [
                {"text": "w1 w2"},
                {"text_file": "text.txt", "dynamic": "sgd", "cache_size": 3},
            ],
        ),
        ("rescore", [{"text_file": "list.tsv"}]),
        (
            "pairs",
            [
                {"text_file": "list.tsv"},
                {"text_file": "list.tsv", "format": "tsv"},
            ],
        ),
        ("features", [{"text": "w1 w2"}, {"text_file": "text.txt"}]),
        (
            "evaluate",
            [{"data_path": "corpus"}, {"text_file": "text.txt"}, ADAPTED],
        ),
        ("neighbours", [{}]),
        ("export", [{"export_format": "arpa"}]),
        ("report", [{}]),
    ],
)
def test_a_mode_reads_what_it_says(exported_run, tmp_path, monkeypatch, mode, commands):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "small-corpus"
    shutil.copytree(exported_run, run)
    shutil.copy(ROOT / "results" / "small" / "results.json", run)
    (tmp_path / "text.txt").write_text("w1 w2\n")
    (tmp_path / "list.tsv").write_text("w1\t2\tw1 w2\n")
    write_corpus(tmp_path / "corpus", **dict.fromkeys(SPLITS, "w1 w2\n"))
    read = set().union(
        *(options_read(mode, save_path=str(run), **values) for values in commands)
    )
    if mode == "pairs":  # the run does not know the built-in ones
        read |= {"num_pairs", "seed"}
    if mode != "report":  # where --save_path is not set, the other two name the run
        read |= options_read(mode, **commands[0] | {"data_path": "corpus"})
    assert read | {"mode", "plugin"} == MODES[mode].options
