"""SIGINT and SIGTERM as something to ask for between two steps.

Python runs its signal handlers between two of its own instructions, so never inside a
long call of native code. Its C handler writes the signal's number to a file descriptor
at once (`signal.set_wakeup_fd`). A thread that reads there answers within such a call.
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import threading
from types import FrameType
from typing import Any

from ptb_lm.system import program

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal asked the run to stop.

    Attributes:
      signal_number: SIGINT or SIGTERM.
      checkpoint: where the state was saved, once it was.
      scores: of the weights of that moment, a `SplitScores` of `runs.results`, where
        they were asked for.
    """

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number
        self.checkpoint: pathlib.Path | None = None
        self.scores: Any = None


class Interrupts:
    """While entered, the first signal is acknowledged and remembered; a second kills.

    Outside the main thread, where Python cannot set handlers, it does nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._was_stopped = False
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            with contextlib.ExitStack() as stack:
                self._start_watching(stack)
                for number in STOPPING:
                    self._handle(stack, number, self._remember)
                self._handle(stack, signal.SIGCONT, self._note_stop)
                self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *unused: object) -> None:
        self._cleanup.close()

    @property
    def received(self) -> int:
        """The signal that has come; 0: none."""
        return self._received or 0

    def take(self) -> int:
        """The signal that has come, once; 0: none."""
        received, self._received = self.received, None
        return received

    def check(self) -> None:
        """Raises Interrupted, once, if a signal has come."""
        if received := self.take():
            raise Interrupted(received)

    def was_stopped(self) -> bool:
        """Whether the process was stopped and continued since this was last asked.

        By SIGSTOP, or Ctrl-Z, and SIGCONT: the time since then is not all its own.
        """
        stopped, self._was_stopped = self._was_stopped, False
        return stopped

    def _handle(self, stack: contextlib.ExitStack, number: int, handler: Any) -> None:
        """Sets a handler until the stack is closed."""
        previous = signal.signal(number, handler)  # None: one of C's
        stack.callback(signal.signal, number, previous or signal.SIG_DFL)

    def _start_watching(self, stack: contextlib.ExitStack) -> None:
        """Starts the thread; it ends when the stack is closed."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        thread = threading.Thread(target=_answer, args=(reader,), daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(os.close, writer)
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, previous)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = number

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        self._was_stopped = True


def _answer(reader: int) -> None:
    """Acknowledges the first signal and dies of the second.

    Args:
      reader: where the signals' numbers come from, a byte each; closed at its end.
    """
    acknowledged = False
    with open(reader, "rb", buffering=0) as numbers:
        while byte := numbers.read(1):
            if byte[0] not in STOPPING:
                continue
            name = signal.Signals(byte[0]).name
            if acknowledged:
                _say(f"{name}: stopped at once")
                _die_of(byte[0])
            _say(f"{name}: finishing the step, saving; again to stop without saving")
            acknowledged = True


def _say(text: str) -> None:
    """Writes a line to standard error, past what Python may be holding there."""
    begin = "\n" if os.isatty(2) else ""  # below the bar, and the ^C that was typed
    with contextlib.suppress(OSError):
        os.write(2, f"{begin}{program.name()}: {text}\n".encode())


def _die_of(number: int) -> None:
    """Ends the process as the signal would by default, for the shell to see.

    Python lets only the main thread set a handler, which may be busy; C lets any.
    """
    ctypes.CDLL(None).signal(number, ctypes.c_void_p(0))  # SIG_DFL
    os.kill(os.getpid(), number)
