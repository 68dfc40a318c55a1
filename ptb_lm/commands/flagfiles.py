"""The options that flagfiles hold, put where ``--flagfile`` stands.

absl reads such a file whole, whatever it is, so that a device or a pipe without an end
takes all memory. Here the files have a limit. A file means what it means to absl: an
option a line; lines that are empty, or that begin with ``#`` or ``//``, are comments.
"""

import io
import pathlib
from collections.abc import Iterable, Iterator

from ptb_lm.errors import UserError
from ptb_lm.system import files

MAX_BYTES = 1 << 20  # of all files together, each as often as it is named
DIRECTIVES = ("--flagfile", "-flagfile")


class Flagfiles:
    """Reads flagfiles, up to MAX_BYTES in all."""

    def __init__(self) -> None:
        """Has read nothing."""
        self._left = MAX_BYTES

    def expand(self, arguments: Iterable[str]) -> Iterator[str]:
        """Arguments as they were typed, with those of the files in their place.

        Raises:
          UserError: a file cannot be read, is too large, or names itself; or no file
            is named.
        """
        left = iter(arguments)
        for argument in left:
            option, equals, name = argument.partition("=")
            if option not in DIRECTIVES:
                yield argument
                continue
            if not equals:
                following = next(left, None)
                if following is None:
                    raise UserError("--flagfile: it needs the name of a file")
                name = following
            yield from self._lines(name, within=())

    def _lines(self, name: str, within: tuple[pathlib.Path, ...]) -> Iterator[str]:
        """The options of a file, and of the files that it names.

        Args:
          name: of the file; empty: there is none.
          within: the files that name it, the outermost first.
        """
        if not name.strip():
            return
        path = files.expand_home(name.strip())
        if path in within:
            raise UserError(f"--flagfile={path}: the file names itself")
        try:
            # One that a file names may wait for ever; the user did not ask for that.
            text = files.read_text(path, not within, max_bytes=self._left)
        except UserError as error:
            raise UserError(f"--flagfile={error}") from error
        self._left -= len(text.encode())
        for line in io.StringIO(text, newline=None):
            option, _, value = line.strip().partition("=")
            if option in DIRECTIVES:
                yield from self._lines(value, (*within, path))
            elif option and not option.startswith(("#", "//")):
                yield line.strip()
