"""The progress bar on a terminal of 80 columns, and lines in a pipe."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

import run_ptb
from ptb_lm.data import download
from ptb_lm.errors import UserError
from ptb_lm.system import progress as progress_module
from ptb_lm.system.progress import Progress, duration, rough_duration

PROGRAM = """
from ptb_lm.system.progress import Progress
Progress.REDRAW_SECONDS = 0
progress = Progress()
for epoch in (1, 2):
    progress.start()
    for done in range(1, 38):
        facts = f"perplexity {3000 / done:.2f}  {done * 7919 % 12345:,} tokens/s"
        progress.update(f"Epoch {epoch}/13", done, 37, facts, rate=0.01)
    progress.line(f"Epoch {epoch} done")
progress.update("a label " * 20, 1, 2, "facts " * 20)
progress.clear()
print("end")
"""
PHASES = """
from ptb_lm.system.progress import Progress
Progress.REDRAW_SECONDS = 0
progress = Progress()
progress.update("Epoch 1/13", 37, 37, "perplexity 3.00", rate=0.01)
with progress.phase("Epoch 1/13, validating") as update:
    print("#", end="", flush=True)
    for done in range(1, 6):
        update(done, 5)
with progress.phase("Epoch 1/13, saving"):
    print("#", end="", flush=True)
try:
    with progress.phase("Exporting"):
        1 / 0
except ZeroDivisionError:
    progress.line("Epoch 1 done")
"""


def output_on_terminal(columns, program=PROGRAM):
    """What a program writes on a pseudo-terminal of so many columns."""
    master, slave = pty.openpty()
    size = struct.pack("HHHH", 24, columns, 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=slave, stdout=slave, env=environment
    )
    os.close(slave)
    output = b""
    try:
        while block := os.read(master, 65536):
            output += block
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    assert process.wait() == 0
    return output.decode()


def screen(output, columns):
    """Lines as a terminal shows them, and whether one ever wrapped."""
    lines, cells, at, wrapped = [], [" "] * columns, 0, False
    for character in output:
        if character == "\r":
            at = 0
        elif character == "\n":
            lines.append("".join(cells).rstrip())
            cells, at = [" "] * columns, at
        elif at >= columns:
            wrapped = True
        else:
            cells[at] = character
            at += 1
    return [*lines, "".join(cells).rstrip()], wrapped


@pytest.mark.parametrize("columns", [80, 30])
def test_bar_never_wraps_and_leaves_nothing(columns):
    output = output_on_terminal(columns)
    lines, wrapped = screen(output, columns)
    assert not wrapped
    assert lines == ["Epoch 1 done", "Epoch 2 done", "end", ""]
    if columns == 80:
        assert "=====" in output and "left" in output and "100%" in output


def test_a_phase_is_in_words_at_once_and_then_a_bar():
    output = output_on_terminal(80, PHASES)
    lines, wrapped = screen(output.replace("#", ""), 80)
    assert not wrapped and lines == ["Epoch 1 done", ""]
    before, validating, saving = output.split("#")
    # What is on the screen when the phase has only begun, and nothing is measured.
    assert before.endswith("\rEpoch 1/13, validating".ljust(80))
    assert validating.endswith("\rEpoch 1/13, saving".ljust(80))
    assert "\rEpoch 1/13, validating  40% [====" in validating
    assert "left" in validating
    assert "\rExporting" in saving and "%" not in saving


@pytest.fixture
def unhurried(monkeypatch):
    """Every plain line is due."""
    monkeypatch.setattr(Progress, "LINE_SECONDS", 0.0)


def test_plain_lines_each_tenth_once(unhurried):
    stream = io.StringIO()
    progress = Progress(stream)
    for _ in range(2):
        progress.start()
        for done in range(1, 1001):
            progress.update("Epoch", done, 1000, "facts", rate=2.0)
    lines = stream.getvalue().splitlines()
    expected = [f"{tenth * 10}%" for tenth in range(1, 11)] * 2
    assert [line.split()[1] for line in lines] == expected
    assert lines[0] == "Epoch   10%  facts  7:30 left"
    assert "\r" not in stream.getvalue()


def test_a_phase_in_a_pipe_is_a_line_each_tenth(unhurried):
    """Nothing where it cannot be told how far it is; the epoch goes on after it."""
    stream = io.StringIO()
    progress = Progress(stream)
    progress.start()
    for done in (1, 2, 3, 4):
        progress.update("Epoch", done, 20, "facts")
    with progress.phase("Saving"):
        pass
    with progress.phase("Validating") as update:
        for done in range(1, 1001):
            update(done, 1000)
    progress.update("Epoch", 5, 20, "facts")
    progress.update("Epoch", 6, 20, "facts")
    shown = [line.split()[:2] for line in stream.getvalue().splitlines()]
    assert shown == [
        *(["Epoch", f"{tenth}0%"] for tenth in (1, 2)),
        *(["Validating", f"{tenth}0%"] for tenth in range(1, 11)),
        ["Epoch", "30%"],
    ]


def test_a_short_phase_in_a_pipe_is_not_shown(monkeypatch):
    """However long ago the last line was."""
    now = 1000.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    stream = io.StringIO()
    progress = Progress(stream)
    for seconds in (0.9, 1.1):
        now += 60.0
        with progress.phase(f"{seconds} s each") as update:
            for done in range(1, 11):
                now += seconds
                update(done, 10)
    assert stream.getvalue() == "1.1 s each  100%  0s left\n"


@pytest.mark.parametrize("total, stride", [(3, 1), (7, 2), (1000, 7), (1000, 333)])
def test_plain_lines_at_most_one_a_tenth(total, stride, unhurried):
    stream = io.StringIO()
    progress = Progress(stream)
    progress.start()
    for done in [*range(stride, total, stride), total]:
        progress.update("Epoch", done, total, "facts")
    tenths = [
        int(line.split("%")[0].split()[-1]) for line in stream.getvalue().splitlines()
    ]
    assert tenths == sorted(set(tenths)) and len(tenths) <= 10
    assert tenths[-1] == 100


def test_plain_lines_of_short_epochs(monkeypatch):
    """Epochs of 4 seconds: a plain line once in ten seconds, the epoch's own always."""
    now = 1000.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    stream = io.StringIO()
    progress = Progress(stream)
    for epoch in range(1, 7):
        progress.start()
        for done in range(1, 5):
            now += 1.0
            progress.update(f"Epoch {epoch}", done, 4, "facts")
        progress.line(f"Epoch {epoch} done")
    lines = stream.getvalue().splitlines()
    plain = [line for line in lines if "%" in line]
    assert plain == ["Epoch 3   50%  facts", "Epoch 5  100%  facts"]
    assert [line for line in lines if "done" in line] == [
        f"Epoch {epoch} done" for epoch in range(1, 7)
    ]


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (12.4, "12s"),
        (59.4, "59s"),
        (59.6, "1:00"),
        (185, "3:05"),
        (3599.7, "1:00:00"),
        (3723, "1:02:03"),
        (360_000, "100:00:00"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (600, "10 min"),
        (5300, "88 min"),
        (6000, "1.7 h"),
        (4.04 * 3600, "4 h"),
        (47.4 * 3600, "47 h"),
        (80 * 3600, "3 days"),
        (365 * 86400, "365 days"),
    ],
)
def test_rough_duration(seconds, text):
    assert rough_duration(seconds) == text


@pytest.mark.parametrize("length", [20_000_000, None])
def test_a_download_is_shown(capsys, monkeypatch, tmp_path, length):
    """A line at each tenth in a pipe; nothing where its length is not known."""

    def fetch(url, cache_dir, progress):
        for done in range(1_000_000, 20_000_001, 1_000_000):
            progress(done, length)
        raise UserError("no more")

    monkeypatch.setattr(download, "fetch_ptb", fetch)
    monkeypatch.setattr(Progress, "LINE_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    assert run_ptb.main(["--data_path=ptb", f"--cache_dir={tmp_path}"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "run_ptb.py: no more\n"
    lines = captured.out.splitlines()
    if length is None:
        assert not lines
    else:
        assert len(lines) == 10
        assert lines[0].startswith("Penn Treebank, download   10%  2.0 of 20.0 MB")
