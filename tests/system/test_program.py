"""What the program calls itself, and the commands that it prints."""

import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

import run_ptb
from ptb_lm.system import program

ROOT = pathlib.Path(run_ptb.__file__).parent


@pytest.fixture
def started_by():
    """Says how the program was started, until the end of the test."""
    yield program.started_by
    program.started_by("python", "run_ptb.py")


@pytest.mark.parametrize(
    "words, name, shown",
    [
        (["python", "run_ptb.py"], "run_ptb.py", "python run_ptb.py"),
        (["ptb-lm"], "ptb-lm", "ptb-lm"),
        (["/my env/bin/ptb-lm"], "ptb-lm", "'/my env/bin/ptb-lm'"),
        (["python3", "-m", "run_ptb"], "run_ptb", "python3 -m run_ptb"),
    ],
)
def test_messages_and_commands(started_by, capsys, words, name, shown):
    started_by(*words)
    program.say("no")
    assert capsys.readouterr().err == f"{name}: no\n"
    assert program.command(mode="sample") == f"{shown} --mode=sample"


@pytest.mark.parametrize(
    "path",
    ["run", "my run", "it's", 'a "b"', "a\nb", "\N{GRINNING FACE}", "$HOME;x", "*", ""],
)
def test_a_command_survives_the_shell(path):
    """The shell gives the program the words that are meant."""
    typed = program.command(mode="sample", save_path=path)
    expected = ["python", "run_ptb.py", "--mode=sample", f"--save_path={path}"]
    assert shlex.split(typed) == expected
    code = "import sys; sys.stdout.write(repr(sys.argv[2:]))"
    replaced = typed.replace("python", f"'{sys.executable}' -c '{code}'", 1)
    done = subprocess.run(["bash", "-c", replaced], capture_output=True, text=True)
    assert done.stdout == repr(expected[2:])


def test_what_was_typed_is_shown():
    """By the help of the real program."""
    bin_folder = pathlib.Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", "python -B run_ptb.py --help; python -m run_ptb --nonsense"],
        cwd=ROOT,
        env={"PATH": f"{bin_folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert "\npython -B run_ptb.py --model=small --data_path=FOLDER " in done.stdout
    assert done.stderr.startswith("run_ptb: --nonsense: unknown")


def test_the_installed_command(monkeypatch, capsys, started_by, tmp_path):
    """By its name where the shell finds it so, else by its path."""
    path = tmp_path / "ptb-lm"
    path.touch(mode=0o755)
    started = []
    monkeypatch.setattr(run_ptb, "run_process", lambda *words: started.append(words))
    monkeypatch.setattr(sys, "argv", [str(path)])
    run_ptb.installed_command()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    run_ptb.installed_command()
    assert started == [(str(path),), ("ptb-lm",)]
    assert shutil.which("ptb-lm") == str(path)
