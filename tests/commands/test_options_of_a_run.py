"""Options that are not typed: those of the run that is resumed, or of its record."""

import json
import pathlib

import pytest

import run_ptb
from ptb_lm.config import RETIRED, Config, option_groups
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.runs import resuming
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.run_options import check_same_run, recorded
from tests.support.files import write_corpus

PROJECT = pathlib.Path(__file__).resolve().parents[2]
RECORDS = sorted(PROJECT.glob("results/*/flags.txt"))
FIRST = (
    PROJECT / "results" / "small-later-schedule" / "flags.txt"
)  # of the first format
OPTIONS = [option for _, group in option_groups() for option in group]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder to work in, with a corpus and no runs."""
    monkeypatch.chdir(tmp_path)
    texts = dict.fromkeys(("train", "valid", "test"), "the cat <unk> sat\n" * 90)
    write_corpus(tmp_path / "corpus", **texts)
    return tmp_path


def old_run(path, **options):
    """A run of the first version: its flags.txt lacks what came later."""
    later = {option.name for option in OPTIONS if option.metadata["since"] > 1}
    config = Config.from_values(options)
    lines = [
        line
        for line in config.to_text().splitlines(keepends=True)
        if line.removeprefix("--").partition("=")[0] not in later
    ]
    path.mkdir(parents=True)
    (path / "flags.txt").write_text("".join(lines))
    return path


SMALL = {"model": "small", "max_max_epoch": 13, "data_path": "corpus"}


def resumed(*arguments):
    return run_ptb.parse(arguments, resume=True)


# --- A run that is resumed ---------------------------------------------------------


def test_an_old_run_goes_on_as_it_was_by_the_same_command(work):
    """The preset has another schedule by now."""
    command = ["--model=small", "--data_path=corpus", "--save_path=run"]
    assert resumed(*command).training.schedule == "zaremba"
    old_run(work / "run", **SMALL)
    assert resumed(*command).training.schedule == "tutorial"
    assert run_ptb.parse(command).training.schedule == "zaremba", "not of the run"


def test_the_folder_alone_is_enough(work):
    options = SMALL | {"hidden_size": 30, "seed": 5, "log_every_steps": 3}
    old_run(work / "run", **options)
    config = resumed("--save_path=run")
    assert config.values() | options == config.values()
    assert config.run.save_path == "run"
    # Likewise where the folder has the default name.
    old_run(work / "runs" / "small-builtin", **options)
    config = resumed()
    assert config.model.hidden_size == 30
    assert resuming.run_path(config) == pathlib.Path("runs/small-builtin")


def test_what_is_typed_wins(work):
    old_run(work / "run", **SMALL, sample_tokens=7)
    config = resumed("--save_path=run", "--sample_tokens=0", "--max_max_epoch=2")
    assert config.tensorboard.sample_tokens == 0
    assert config.training.max_max_epoch == 2  # refused when the folder is opened
    (work / "my.flags").write_text("--log_every_steps=9\n")
    config = resumed("--save_path=run", "--flagfile=my.flags")
    assert config.run.log_every_steps == 9


ALONE = "--save_path=run alone resumes it"
FROM_ITS_WEIGHTS = (
    "another --save_path with --init_from=run starts another run from its best weights"
)


@pytest.mark.parametrize(
    "typed, said, ways",
    [
        (["--seed=2"], "--seed=1 there, 2 here", FROM_ITS_WEIGHTS),
        (["--model=medium"], "--model=small there, medium here", FROM_ITS_WEIGHTS),
        (
            ["--schedule=zaremba"],
            "--schedule=tutorial there, zaremba here",
            "--change_options resumes it with these from now on; " + FROM_ITS_WEIGHTS,
        ),
        (
            ["--tied", "--seed=1"],
            "--tied=false there, true here",
            "another --save_path starts another run",
        ),
        (
            ["--batch_size=7", "--learning_rate=0.5", "--max_max_epoch=15"],
            "--batch_size=20 there, 7 here; --learning_rate=1.0 there, 0.5 here",
            f"--change_options can change only --learning_rate; {FROM_ITS_WEIGHTS}",
        ),
        (
            ["--batch_size=7", "--learning_rate=0.5", "--change_options"],
            "--batch_size=20 there, 7 here",
            FROM_ITS_WEIGHTS,
        ),
    ],
)
def test_typed_options_that_may_not_change_are_refused(
    work, fails_in, typed, said, ways
):
    """Those alone, and with what there is to do instead."""
    old_run(work / "run", **SMALL)
    line = fails_in("--save_path=run", *typed)
    assert line == f"run holds a run with other options: {said}; {ALONE}; {ways}"


def test_what_is_advised_may_be_typed_as_it_stands(work, fails_in):
    old_run(work / "my run", **SMALL)
    line = fails_in("--save_path=my run", "--seed=2")
    assert "--save_path='my run' alone" in line and "--init_from='my run'" in line


def test_what_may_change_does_not_shape_the_weights():
    """Nor does it concern the command alone, or how the run began."""
    changing = {o.name for o in OPTIONS if o.metadata["may_change"]}
    shaping = {o.name for o in OPTIONS if o.metadata["shapes_weights"]}
    free = {o.name for o in OPTIONS if not o.metadata["defines_run"]}
    past = {"init_from", "vocabulary_from", "seed", "softmax_bias_init", "forget_bias"}
    past |= {"init_scale", "embedding_init", "layer_init", "softmax_init"}
    assert {"max_max_epoch", "learning_rate", "early_stopping"} <= changing
    assert not changing & (shaping | free | past)


# --- Paths -------------------------------------------------------------------------


def test_paths_are_recorded_so_that_they_hold_anywhere(work, monkeypatch):
    """Also under --save_path alone; the download has no path."""
    vocabulary = Vocabulary(["the", "<eos>"])
    typed = ["--data_path=corpus", "--init_from=old", "--cache_dir=~/cache"]
    config = resumed("--save_path=run", *typed)
    RunFolder(work / "run").open_for_training(config, vocabulary)
    stored = RunFolder(work / "run").config()
    assert stored.data.data_path == str(work / "corpus")
    assert stored.training.init_from == str(work / "old")
    assert stored.data.cache_dir == str(pathlib.Path.home() / "cache")
    check_same_run(work / "run", stored, config)
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    there = resumed("--save_path=../run")
    assert there.data.data_path == str(work / "corpus")
    check_same_run(work / "run", stored, there)
    for typed, expected in {
        "ptb": "ptb",
        "": "",
        "a.txt, b*.txt": f"{work}/elsewhere/a.txt,{work}/elsewhere/b*.txt",
    }.items():
        config = Config.from_values({"data_path": typed})
        assert recorded(config).data.data_path == expected


@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_a_corpus_that_has_moved_is_named_with_its_source(work, fails_in, mode):
    old_run(work / "run", **SMALL)
    (work / "corpus").rename(work / "moved")
    line = fails_in(f"--mode={mode}", "--save_path=run")
    assert line == (
        "run/flags.txt has --data_path=corpus: no such file or folder; type"
        " --data_path to say where the corpus is now"
    )


def test_a_typed_path_is_the_users_own(work, fails_in):
    old_run(work / "run", **SMALL)
    line = fails_in("--save_path=run", "--data_path=nowhere")
    assert line == "--data_path=nowhere: no such file or folder"


def test_where_the_corpus_is_now_is_recorded(work):
    old_run(work / "run", **SMALL)
    folder = RunFolder(work / "run")
    before = (work / "run" / "flags.txt").read_text()
    folder.record_options(resumed("--save_path=run", "--log_every_steps=7"))
    assert (work / "run" / "flags.txt").read_text() == before, "nothing to record"
    (work / "corpus").rename(work / "moved")
    folder.record_options(resumed("--save_path=run", "--data_path=moved"))
    assert folder.config().data.data_path == str(work / "moved")
    assert folder.config().run_values() == Config.from_values(SMALL).run_values()


@pytest.fixture
def fails_in(work, capsys):
    """Runs the command line in `work`; returns the line of the error."""

    def run(*arguments):
        capsys.readouterr()
        assert run_ptb.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("run_ptb.py: ")

    return run


def test_a_damaged_flags_file_is_named(work, fails_in):
    (work / "run").mkdir()
    (work / "run" / "flags.txt").write_text("--no_such_option=1\n")
    assert fails_in("--save_path=run").startswith("run/flags.txt: ")


@pytest.mark.parametrize("mode", ["evaluate", "sample", "report"])
def test_other_modes_have_their_own_options(work, mode):
    old_run(work / "run", **SMALL, num_tokens=3, split="train")
    config = resumed("--save_path=run", f"--mode={mode}")
    assert config.generation.num_tokens == 100 and config.evaluation.split == "test"


@pytest.mark.slow
def test_a_run_goes_on_by_its_folder_alone(work, capsys):
    """From its start to its end, by the program itself."""
    command = ["--model=test", "--data_path=corpus", "--save_path=run"]
    options = ["--hidden_size=6", "--sample_tokens=0", "--seed=4"]
    assert run_ptb.main([*command, *options]) == 0
    first = (work / "run" / "flags.txt").read_text()
    results = json.loads((work / "run" / "results.json").read_text())
    assert run_ptb.main(["--save_path=run"]) == 0
    assert (work / "run" / "flags.txt").read_text() == first
    assert json.loads((work / "run" / "results.json").read_text()) == results
    assert capsys.readouterr().err == ""


# --- A record ----------------------------------------------------------------------


def test_the_first_format_is_what_the_oldest_records_set():
    """An option that is added later must say so: `since=2`."""
    first = {o.name for o in OPTIONS if o.metadata["since"] == 1}
    lines = FIRST.read_text().splitlines()
    recorded = {line.removeprefix("--").partition("=")[0] for line in lines}
    assert recorded - {*RETIRED} == first - {"mode", "save_path"}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_record_repeats_its_run(path):
    """Of every version; the preset that it names has changed since."""
    recorded = Config.from_text(path.read_text(), "flags.txt")
    found = run_ptb.parse([f"--flagfile={path}", "--save_path=NEW"])
    assert found.run.save_path == "NEW"
    assert found.run_values() == recorded.run_values()
    assert found.values() | {"save_path": ""} == recorded.values()


def test_what_is_typed_beside_a_record_wins():
    found = run_ptb.parse([f"--flagfile={FIRST}", "--seed=9", "--schedule=zaremba"])
    assert found.training.seed == 9 and found.training.schedule == "zaremba"


def test_a_record_needs_no_preset(work):
    """Nor is the one that it names asked for: it may be gone."""
    text = FIRST.read_text().replace("--model=small", "--model=gone")
    (work / "flags.txt").write_text(text)
    assert run_ptb.parse(["--flagfile=flags.txt"]).run.model == "gone"


def test_a_record_is_complete_for_a_run_that_it_resumes(work, fails_in):
    """What it lacks has the default, whatever the run has."""
    options = Config.from_text(FIRST.read_text(), "flags.txt").values()
    del options["mode"], options["save_path"]
    options |= {"schedule": "zaremba", "data_path": "corpus"}
    path = work / "run"
    path.mkdir()
    (path / "flags.txt").write_text(Config.from_values(options).to_text())
    line = fails_in(f"--flagfile={FIRST}", "--save_path=run", "--data_path=corpus")
    assert "--schedule=zaremba there, tutorial here" in line


def test_part_of_a_record_is_none():
    names = {o.name for o in OPTIONS if o.metadata["since"] == 1}
    assert resuming.is_record(names)
    assert not resuming.is_record(names - {"dtype"})
