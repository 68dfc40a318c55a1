"""Progress on the terminal: a bar where one is read, lines elsewhere."""

import shutil
import sys
import time
from typing import TextIO


class Progress:
    """Shows an epoch's progress.

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
        left = f"  {duration((total - done) / rate)} left" if rate else ""
        waited = time.monotonic() - self._last_draw
        if self._terminal:
            if waited >= self.REDRAW_SECONDS or done == total:
                self._last_draw += waited
                self._draw(label, done, total, facts + left)
        elif waited >= self.LINE_SECONDS and done * 10 >= self._next_tenth * total:
            self._last_draw += waited
            self._next_tenth = done * 10 // total + 1
            self.line(f"{label}  {done * 100 // total:3d}%  {facts}{left}")

    def start(self) -> None:
        """Begins another epoch."""
        self._next_tenth = 1

    def _draw(self, label: str, done: int, total: int, facts: str) -> None:
        """Redraws the bar within the terminal's width."""
        width = shutil.get_terminal_size().columns - 1
        room = width - len(label) - len(facts) - 11
        bar = ""
        if room >= 5:
            filled = done * room // total
            bar = "[" + "=" * filled + " " * (room - filled) + "]"
        text = f"{label} {done * 100 // total:3d}% {bar}  {facts}"[:width]
        self._stream.write("\r" + text.ljust(width))
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Clears the bar, so that something else can be printed."""
        if self._drawn:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r" + " " * width + "\r")
            self._stream.flush()
            self._drawn = False


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
