"""What several tests share."""

import re

import pytest

import run_ptb

SPLITS = ("train", "valid", "test")


# In one step a run of the preset test needs 20 * (2 + 1) tokens.
TEXT = "the cat <unk> sat\n" * 40


def tree(folder):
    """Every path below a folder with what it holds."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def write_corpus(folder, **texts):
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        content = texts.get(split, TEXT)
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / f"{split}.txt").write_bytes(data)
    return folder


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
    """Runs the command line; returns the one line of the error.

    It works in a folder below tmp_path, so that the default run folder would be
    seen too, and checks that nothing at all was written or changed.
    """
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*arguments):
        before = tree(tmp_path)
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
        assert tree(tmp_path) == before
        return line.removeprefix("run_ptb.py: ")

    return run
