"""A text on disk or in memory, read block by block.

At most one block of a file is in memory, so that a corpus may be larger than memory.
"""

import abc
import contextlib
import dataclasses
import gzip
import hashlib
import itertools
import pathlib
import sys
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

from ptb_lm.data.byte_tokens import to_bytes
from ptb_lm.errors import UserError
from ptb_lm.system import files

SPLITS = ("train", "valid", "test")
# Of a text that is split at a time: its tokens are then still in the processor's cache
# when each is looked up.
BLOCK_BYTES = 1 << 16
READ_BYTES = 1 << 20  # of a file whose content does not matter


class Block(NamedTuple):
    """Whole lines of a text.

    Attributes:
      name: of the file that they are from, for an error.
      line: number of the first of them in that file, from 1.
      text: the lines.
    """

    name: str
    line: int
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSource(abc.ABC):
    """A text that can be read again and again.

    Attributes:
      name: what to call it in an error.
      part: what part of a corpus it is, for an error.
      is_spaced: whether its characters stand apart, see
        `ptb_lm.data.token_rules.TokenRules.split_spaced`.
    """

    name: str
    part: str = "text"
    is_spaced: bool = False

    @abc.abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yields the text block by block."""

    @abc.abstractmethod
    def byte_blocks(self) -> Iterator[bytes]:
        """Yields the bytes of the text as they are, at most BLOCK_BYTES at a time."""

    @abc.abstractmethod
    def num_bytes(self) -> int:
        """Size of the text."""

    @abc.abstractmethod
    def fingerprint(self) -> list[object] | None:
        """What differs whenever the tokens of two texts do, as JSON; None: not known.

        It does not cover how a text is split into tokens, which is the same for all.
        """


Sources = dict[str, TextSource]  # the texts of a corpus, by split


def changed_while_read(source: TextSource) -> UserError:
    """What to raise for a file that someone writes to at the same time."""
    return UserError(
        f"{source.name}: the file changed while it was read; run the command again"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenText(TextSource):
    """A string.

    Attributes:
      text: the string.
    """

    text: str

    def blocks(self) -> Iterator[Block]:
        """Yields the string as a whole."""
        yield Block(self.name, 1, self.text)

    def byte_blocks(self) -> Iterator[bytes]:
        """Yields the bytes of the string, see `TextSource.byte_blocks`."""
        data = to_bytes(self.text)
        for begin in range(0, len(data), BLOCK_BYTES):
            yield data[begin : begin + BLOCK_BYTES]

    def num_bytes(self) -> int:
        """Size of the string, as far as its characters are ASCII."""
        return len(self.text)

    def fingerprint(self) -> None:
        """None: nothing tells but the string itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileText(TextSource):
    """A file, or a part of it.

    Attributes:
      path: the file.
      begin: first byte of the part.
      end: byte after its last; None: the end of the file.
      first_line: number of its first line, from 1.
      is_closed: whether a line end is read where the part ends without one, because
        another file follows.
      are_lines: whether the part begins and ends at line ends; bytes need not.
      is_compressed: whether it is read through gzip; it is a whole file then.
    """

    path: pathlib.Path
    begin: int = 0
    end: int | None = None
    first_line: int = 1
    is_closed: bool = False
    are_lines: bool = True
    is_compressed: bool = False

    def blocks(self) -> Iterator[Block]:
        """Yields the text block by block.

        Raises:
          UserError: the file cannot be read, is binary or is not UTF-8; the line is
            named.
        """
        line = self.first_line
        with self._opened() as (file, left):
            while left > 0 and (data := file.read(min(BLOCK_BYTES, left))):
                if len(data) < left:
                    data += file.readline()
                left -= len(data)
                if self.is_closed and not data.endswith(b"\n"):
                    data += b"\n"
                yield Block(
                    self.name, line, files.decode_text(data, str(self.path), line)
                )
                line += data.count(b"\n")

    def byte_blocks(self) -> Iterator[bytes]:
        """As `TextSource.byte_blocks`; UserError where the file cannot be read."""
        with self._opened() as (file, left):
            while left > 0 and (data := file.read(min(BLOCK_BYTES, left))):
                left -= len(data)
                yield data

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[BinaryIO, int]]:
        """The file at the begin of the part; and how many bytes the part has at most.

        Raises:
          UserError: the file cannot be read, or is damaged.
        """
        with self._user_errors():
            if self.is_compressed:
                with gzip.open(self.path, "rb") as text:
                    yield cast(BinaryIO, text), sys.maxsize
                return
            with self.path.open("rb") as file:
                file.seek(self.begin)
                yield file, self._end() - self.begin

    def num_bytes(self) -> int:
        """Size of the part, as it is on disk; UserError where there is no file."""
        with self._user_errors():
            return self._end() - self.begin

    def fingerprint(self) -> list[object]:
        """Digest of the part. Size and time would not tell every change of a file.

        Raises:
          OSError: the file cannot be read.
          UserError: the part is no longer what it was when it was found: whole lines.
        """
        digest, left = hashlib.sha256(), self._end() - self.begin
        with self.path.open("rb") as file:
            file.seek(max(self.begin - 1, 0))
            is_whole = self.begin == 0 or file.read(1) == b"\n" or not self.are_lines
            while left and (data := file.read(min(READ_BYTES, left))):
                digest.update(data)
                left -= len(data)
        if left or not is_whole:
            raise changed_while_read(self)
        compressed = ["gzip"] if self.is_compressed else []
        return [digest.hexdigest(), self.is_spaced, self.is_closed, *compressed]

    def _end(self) -> int:
        """Byte after the last one of the part."""
        return self.path.stat().st_size if self.end is None else self.end

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        """Turns what the file system raises into a UserError."""
        try:
            yield
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{self.path}: not a whole .gz file ({error}); compress it anew"
            ) from error
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot read: {error.strerror or error}"
            ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class JoinedText(TextSource):
    """Several files, or parts of them, one after the other.

    Attributes:
      pieces: the files.
    """

    pieces: tuple[FileText, ...]

    def blocks(self) -> Iterator[Block]:
        """Yields the blocks of every file; UserError as `FileText.blocks`."""
        return itertools.chain.from_iterable(piece.blocks() for piece in self.pieces)

    def byte_blocks(self) -> Iterator[bytes]:
        """Yields the bytes of every file; UserError as `FileText.byte_blocks`."""
        blocks = (piece.byte_blocks() for piece in self.pieces)
        return itertools.chain.from_iterable(blocks)

    def num_bytes(self) -> int:
        """Size of all files; UserError as `FileText.num_bytes`."""
        return sum(piece.num_bytes() for piece in self.pieces)

    def fingerprint(self) -> list[object]:
        """That of every file; OSError without a file."""
        return [piece.fingerprint() for piece in self.pieces]
