"""Standard input and output in any state: the real program, asked for its help."""

import fcntl
import os
import pathlib
import pty
import struct
import subprocess
import sys
import termios

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = f"'{sys.executable}' '{ROOT}/run_ptb.py'"


def shell(line, **environment):
    """Runs a line in bash; returns (exit status, standard output, standard error)."""
    done = subprocess.run(
        ["bash", "-c", line],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "to, reason",
    [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_an_output_that_cannot_be_written(to, reason):
    line = f"run_ptb.py: standard output: {reason}\n"
    assert shell(f"{PROGRAM} --help {to}") == (2, "", line)


@pytest.mark.parametrize("to", ["2> /dev/full", "2>&-"])
def test_an_error_that_cannot_be_written(to):
    """Not to standard output either, where another program may read."""
    assert shell(f"{PROGRAM} --no_such_option=1 {to}") == (2, "", "")


def test_a_closed_input():
    status, output, error = shell(f"{PROGRAM} --version <&-")
    assert (status, error) == (0, "") and output.startswith("ptb_lm ")


def test_a_file_does_not_take_the_place_of_a_closed_stream():
    """What is printed would end in a file that the program writes."""
    code = (
        "import os\n"
        "from ptb_lm.system.streams import prepare_streams\n"
        "prepare_streams()\n"
        "number = os.open('/dev/null', os.O_RDONLY)\n"
        "assert number > 2, number\n"
    )
    line = f"PYTHONPATH='{ROOT}' '{sys.executable}' -c \"{code}\" <&- >&- 2>&-"
    assert shell(line)[0] == 0


def test_a_reader_that_goes_away():
    """Silent, and with the status of what a broken pipe ends: 128 + SIGPIPE."""
    code = (
        "import sys, run_ptb\n"
        "run_ptb.main = lambda _: print('x' * 10**7) or 0\n"
        "sys.exit(run_ptb.run_process('run_ptb.py'))\n"
    )
    python = f"PYTHONPATH='{ROOT}' '{sys.executable}' -c \"{code}\""
    line = f"{python} | head -c 2; echo ${{PIPESTATUS[0]}}"
    assert shell(line) == (0, "xx141\n", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters(encoding):
    """Escape sequences stand for them, and nothing fails."""
    code = "import run_ptb; run_ptb.main = lambda _: print('caf\u0117 \u65e5') or 0\n"
    code += "run_ptb.run_process('run_ptb.py')"
    line = f"PYTHONPATH='{ROOT}' '{sys.executable}' -c \"{code}\""
    status, output, error = shell(line, PYTHONIOENCODING=encoding)
    assert (status, output, error) == (0, "caf\\u0117 \\u65e5\n", "")


def test_the_width_of_the_terminal_is_seen():
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 47, 0, 0))
    code = (
        "import shutil\n"
        "from ptb_lm.system.streams import prepare_streams\n"
        "prepare_streams()\n"
        "print(shutil.get_terminal_size().columns)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment | {"PYTHONPATH": str(ROOT)},
            stdout=child,
            check=True,
        )
        assert os.read(parent, 100) == b"47\r\n"
    finally:
        os.close(parent)
        os.close(child)
