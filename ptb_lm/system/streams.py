"""Standard input and output of the process, whatever state they are in."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any

from ptb_lm.errors import UserError


class Output(io.TextIOWrapper):
    """Standard output that says in one line why it cannot be written.

    A write raises UserError where the system refuses it, and BrokenPipeError where the
    reader has gone. After that, what is written is discarded.
    """

    def write(self, text: str) -> int:
        """Writes text; see `io.TextIOWrapper`."""
        return self._attempt(super().write, text)

    def flush(self) -> None:
        """Hands on what is buffered; see `io.TextIOWrapper`."""
        self._attempt(super().flush)

    def _attempt(self, action: Callable[..., Any], *arguments: str) -> Any:
        """Does what may fail."""
        try:
            return action(*arguments)
        except BrokenPipeError:
            self._discard()
            raise
        except OSError as error:
            self._discard()
            raise UserError(f"standard output: {error.strerror}") from error

    def _discard(self) -> None:
        """Sends what is still buffered nowhere; Python would complain at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def prepare_streams() -> None:
    """Makes the standard streams of this process ready for any text, and open.

    A file that the program opens must not get the number of a stream that is closed:
    what is printed would be written into it. A closed input is empty, and writing to a
    closed output fails.
    """
    sys.stdin = sys.stdin or _opened(0, os.O_RDONLY, "r")
    sys.stdout = sys.stdout or _opened(1, os.O_RDONLY, "w")
    sys.stderr = sys.stderr or _opened(2, os.O_WRONLY, "w")
    stream: Any = sys.stdout
    # shutil.get_terminal_size asks the second for the width.
    sys.stdout = sys.__stdout__ = Output(  # type: ignore[misc]
        stream.detach(),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


def _opened(number: int, flags: int, mode: str) -> Any:
    """The null device as the stream of this number."""
    handle = os.open(os.devnull, flags)
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)
    return open(number, mode, encoding="utf-8", closefd=False)
