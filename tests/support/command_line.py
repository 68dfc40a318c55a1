"""Runs of the command line that must fail as a user's mistake does."""

import math
import re

import pytest

import run_ptb
from ptb_lm.system.progress import Progress
from tests.support.files import snapshot


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
    """Runs the command line; returns the one line of the error.

    It works in a folder below tmp_path, so that the default run folder would be
    seen too, and checks that nothing at all was written or changed.
    """
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    # A slow machine would say beside the error what takes long.
    monkeypatch.setattr(Progress, "LINE_SECONDS", math.inf)

    def run(*arguments):
        before = snapshot(tmp_path)
        capsys.readouterr()
        status = run_ptb.main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        assert status == 2
        assert error.startswith("run_ptb.py: ")
        assert error.endswith("\n")
        line = error.removesuffix("\n")
        assert line.isprintable(), f"not one line: {line!r}"
        assert "Traceback" not in line
        assert not re.search(r"\wError\b", line), "the name of an exception"
        assert snapshot(tmp_path) == before
        return line.removeprefix("run_ptb.py: ")

    return run


def printed(capsys, *arguments):
    """Runs a command that succeeds; returns what it prints."""
    capsys.readouterr()
    status = run_ptb.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def table(text):
    """Columns with tabs between them, after a header: a dictionary for each line."""
    header, *lines = (line.split("\t") for line in text.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]
