"""SIGINT and SIGTERM as something to ask for between two steps."""

import pathlib
import signal
import threading
from types import FrameType
from typing import Any


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
    """While entered, the first signal is remembered and a second one kills.

    Outside the main thread, where Python cannot set handlers, it does nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[signal.Signals, Any] = {}  # handlers, as signal() gives

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises Interrupted, once, if a signal has come."""
        if self._received is not None:
            received, self._received = self._received, None
            raise Interrupted(received)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        for handled in self._previous:
            signal.signal(handled, signal.SIG_DFL)
