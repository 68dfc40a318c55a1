"""Progress on the terminal: a bar where one is read, lines elsewhere."""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

Update = Callable[[int, int], None]  # (done, total): shows how far a phase is


class Progress:
    """Shows the progress of an epoch, or of another phase of a command.

    On a terminal, one line that is redrawn at most five times a second; in a
    pipe, a file or a notebook, a plain line at every tenth of the epoch, at most one
    in ten seconds, so that a short epoch does not fill the page.
    """

    REDRAW_SECONDS = 0.2
    LINE_SECONDS = 10.0

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._last_draw = time.monotonic()
        self._next_tenth = 1
        self._drawn = False

    def line(self, text: str) -> None:
        """Prints a line of its own."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def update(
        self, label: str, done: int, total: int, facts: str, rate: float = 0.0
    ) -> None:
        """Shows that `done` of `total` steps are behind us.

        Args:
          label: what is being done.
          done: steps done.
          total: steps in all.
          facts: perplexity and speed, say.
          rate: steps a second, for the time left; 0: not known.
        """
        if rate:
            facts = f"{facts}  {duration((total - done) / rate)} left".strip()
        waited = time.monotonic() - self._last_draw
        if self._terminal:
            if waited >= self.REDRAW_SECONDS or done == total:
                self._last_draw += waited
                self._draw(label, done, total, facts)
        elif waited >= self.LINE_SECONDS and done * 10 >= self._next_tenth * total:
            self._last_draw += waited
            self._next_tenth = done * 10 // total + 1
            self.line(f"{label}  {done * 100 // total:3d}%  {facts}")

    def start(self) -> None:
        """Begins another epoch."""
        self._next_tenth = 1

    @contextlib.contextmanager
    def phase(self, label: str) -> Iterator[Update]:
        """Shows a phase other than an epoch: in words at once, which go at its end.

        In a pipe, a phase that is over in less than `LINE_SECONDS` is not shown.

        Args:
          label: what is being done.

        Yields:
          A function to call where it can be told how far the phase is. It shows the
          share that is done, and the time that is left.
        """
        tenth, self._next_tenth = self._next_tenth, 1
        if self._terminal:
            self._write(label)
        else:
            self._last_draw = time.monotonic()
        try:
            yield _Phase(self, label).update
        finally:
            self.clear()
            self._next_tenth = tenth

    def _draw(self, label: str, done: int, total: int, facts: str) -> None:
        """Redraws the bar within the terminal's width."""
        room = _width() - len(label) - len(facts) - 11
        bar = ""
        if room >= 5:
            filled = done * room // total
            bar = "[" + "=" * filled + " " * (room - filled) + "]"
        self._write(f"{label} {done * 100 // total:3d}% {bar}  {facts}")

    def _write(self, text: str) -> None:
        """Puts a text into the place of what was drawn before."""
        self._stream.write("\r" + text[: _width()].ljust(_width()))
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Clears the bar, so that something else can be printed."""
        if self._drawn:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
            self._drawn = False


class _Phase:
    """A phase whose speed is measured from its first update on.

    What is before that is rarely like the rest: TensorFlow traces a graph.
    """

    def __init__(self, progress: Progress, label: str):
        self._progress, self._label = progress, label
        self._begin: tuple[float, int] | None = None

    def update(self, done: int, total: int) -> None:
        """Shows that `done` of `total` are behind us."""
        now = time.monotonic()
        begin, begun = self._begin = self._begin or (now, done)
        rate = (done - begun) / (now - begin) if now > begin else 0.0
        self._progress.update(self._label, done, total, "", rate)


def _width() -> int:
    """Columns of the terminal that can be written to without a line break."""
    return shutil.get_terminal_size().columns - 1


def duration(seconds: float) -> str:
    """Seconds as 12s, 3:05 or 1:02:03."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}:{seconds:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def rough_duration(seconds: float) -> str:
    """Seconds as one says them of what is to come: 40 min, 4 h, 3 days."""
    hours = seconds / 3600
    if hours < 1.5:
        return f"{60 * hours:.0f} min"
    return f"{hours:.2g} h" if hours < 48 else f"{hours / 24:.0f} days"
