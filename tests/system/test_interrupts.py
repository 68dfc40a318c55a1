"""Signals: acknowledged at once, also inside one long native call; then deadly."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from ptb_lm.system.interrupts import Interrupted, Interrupts

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The second lasts for minutes, and no Python instruction is run in it.
LONG = {
    "Python": "for step in range(60_000): time.sleep(0.01)",
    "native": "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)",
}
PROGRAM = """
import hashlib, time
from ptb_lm.system.interrupts import Interrupts
with Interrupts():
    print("ready", flush=True)
    {}
"""
PAIRS = [
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGINT, signal.SIGTERM),
    (signal.SIGTERM, signal.SIGINT),
    (signal.SIGTERM, signal.SIGTERM),
]


@pytest.mark.parametrize("call", LONG)
@pytest.mark.parametrize("first, second", PAIRS)
def test_the_first_is_acknowledged_and_the_second_kills(call, first, second):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(LONG[call])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stderr.readline() == (
            f"run_ptb.py: {first.name}: finishing the step, saving; again to stop"
            " without saving\n"
        )
        process.send_signal(second)
        _, error = process.communicate()
        assert error == f"run_ptb.py: {second.name}: stopped at once\n"
        assert process.returncode == -second
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_told_once(number):
    """So that what is done on the way out can ask too."""
    with Interrupts() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted) as caught:
            interrupts.check()
        assert caught.value.signal_number == number
        interrupts.check()


def test_being_stopped_is_told_once():
    with Interrupts() as interrupts:
        assert not interrupts.was_stopped()
        os.kill(os.getpid(), signal.SIGCONT)
        assert interrupts.was_stopped()
        assert not interrupts.was_stopped()
        interrupts.check()


def test_everything_is_as_it_was_afterwards():
    def state():
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCONT)
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        threads = {thread.ident for thread in threading.enumerate()}
        open_files = sorted(os.listdir("/proc/self/fd"))
        return [signal.getsignal(n) for n in numbers], descriptor, threads, open_files

    before = state()
    with Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        assert state() != before
    assert state() == before


def test_outside_the_main_thread_nothing_is_set():
    found = []

    def enter():
        handler = signal.getsignal(signal.SIGINT)
        with Interrupts() as interrupts:
            found.append(signal.getsignal(signal.SIGINT) is handler)
            interrupts.check()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]
