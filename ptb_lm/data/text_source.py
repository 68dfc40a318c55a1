"""Pieces of text on disk or in memory, read block by block as tokens.

Nothing here holds more than one block of a file, so that a corpus may be larger
than memory.
"""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator

from ptb_lm.data.vocabulary import END_OF_SENTENCE
from ptb_lm.errors import UserError
from ptb_lm.system import files

BLOCK_BYTES = 1 << 22  # a few MB: large enough that the per-block cost is nothing
# What the tokens of a spaced text are as characters.
_BLANKS = {"_": " ", END_OF_SENTENCE: "\n"}
_NO_LETTERS = re.compile("[^A-Za-z]+")


@dataclasses.dataclass(frozen=True)
class TextSource:
    """A part of a UTF-8 file that begins and ends at line ends, or a string.

    Attributes:
      name: what to call it in an error.
      path: the file; None for a string.
      begin: first byte of the part.
      end: byte after its last; None: the end of the file.
      first_line: number of its first line, from 1.
      text: the string, where there is no file.
      part: what part of a corpus it is, for an error.
      is_spaced: whether it is a text of characters with a blank between them,
        where ``_`` stands for the blank, as in Mikolov's character version of the
        Penn Treebank.
    """

    name: str
    path: pathlib.Path | None = None
    begin: int = 0
    end: int | None = None
    first_line: int = 1
    text: str = ""
    part: str = "text"
    is_spaced: bool = False

    def num_bytes(self) -> int:
        """Size of the part; UserError where the file cannot be found."""
        if self.path is None:
            return len(self.text)
        with self._user_errors():
            return self._end() - self.begin

    def blocks(self) -> Iterator[tuple[int, str]]:
        """Yields (number of the first line, whole lines of text).

        Raises:
          UserError: the file cannot be read, is binary or is not UTF-8; the line is
            named.
        """
        if self.path is None:
            yield self.first_line, self.text
            return
        with self._user_errors():
            yield from self._read_blocks()

    def _end(self) -> int:
        """Byte after the last one of the part."""
        return self.path.stat().st_size if self.end is None else self.end

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        """Turns what the file system raises into a UserError."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot read: {error.strerror or error}"
            ) from error

    def _read_blocks(self) -> Iterator[tuple[int, str]]:
        line = self.first_line
        with self.path.open("rb") as file:
            end = self._end()
            file.seek(self.begin)
            while (left := end - file.tell()) > 0:
                data = file.read(min(BLOCK_BYTES, left))
                if not data:  # the file has become shorter
                    break
                if len(data) < left:
                    data += file.readline()
                lines = data.count(b"\n")
                yield line, files.decode_text(data, str(self.path), line)
                line += lines


def tokenize(
    text: str, token_type: str, normalize: str = "none", is_spaced: bool = False
) -> list[str]:
    """Tokens of whole lines of text.

    Args:
      text: lines that end in a line feed, with or without a carriage return.
      token_type: "word" or "char".
      normalize: "none", or "letters", see `letters_only`.
      is_spaced: whether the text is one of characters that stand apart, see
        `TextSource`.

    Returns:
      Words with ``<eos>`` at every line end, as `split_words`; or characters,
      the line feed among them. Letters alone have no line ends.
    """
    if is_spaced:
        tokens = [_BLANKS.get(token, token) for token in split_words(text)]
        if normalize == "none":
            return tokens
        text = "".join(tokens)
    if normalize == "letters":
        text = letters_only(text)
        return text.split() if token_type == "word" else list(text)
    if token_type == "word":
        return split_words(text)
    return list(text.replace("\r\n", "\n"))


def letters_only(text: str) -> str:
    """Lower-case letters a to z, and a blank for whatever is between them.

    What is before the first letter is left out, so that lines that are read one
    after the other are separated by one blank.
    """
    return _NO_LETTERS.sub(" ", text).lstrip(" ").lower()


def split_words(text: str) -> list[str]:
    r"""Words of a text, every line closed by ``<eos>``, the last one included.

    Lines end in ``\n`` or ``\r\n``; words are separated by white space, of which
    the carriage return is part.
    """
    if text and not text.endswith("\n"):
        text += "\n"
    return text.replace("\n", f" {END_OF_SENTENCE} ").split()
