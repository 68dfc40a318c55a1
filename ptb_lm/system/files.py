"""Files that are whole or absent, whatever happens while they are written."""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import stat
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

from ptb_lm.errors import UserError

MAX_TEXT_BYTES = 1 << 30  # of a text that is read at once; corpora are not
_BLOCK_BYTES = 1 << 20
AT_FDCWD = -100  # fcntl.h of Linux: paths are relative to the working folder
EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS


def write_atomically(path: pathlib.Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file aside, syncs it to the disk and renames it into place.

    Args:
      path: the file; what it held before stays until the new content is whole.
      write: called with the open binary file.

    Raises:
      UserError: the file system refuses (full, read-only, not permitted, gone).
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from error


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: pathlib.Path) -> None:
    """Makes renames and removals inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_folder(path: pathlib.Path, new: pathlib.Path) -> None:
    """Renames a folder into the place of another; a reader finds one or the other.

    What was there is where `new` was then. Where the system cannot exchange two
    names at once, there is neither for the moment between two renames.

    Args:
      path: the place; what is there stays if the renaming fails.
      new: the new folder, on the same file system.

    Raises:
      OSError: the file system refuses.
    """
    if not path.exists():
        new.rename(path)
    elif not _exchange(path, new):
        old = new.with_name(f"{new.name}.old")
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
        old.rename(new)


def _exchange(first: pathlib.Path, second: pathlib.Path) -> bool:
    """Exchanges two names in one step; whether the system could.

    renameat2(2) of Linux and renamex_np(2) of macOS, which Python does not offer.
    """
    library = ctypes.CDLL(None)
    paths = os.fsencode(first), os.fsencode(second)
    if hasattr(library, "renameat2"):
        arguments = AT_FDCWD, paths[0], AT_FDCWD, paths[1], ctypes.c_uint(EXCHANGE)
        return library.renameat2(*arguments) == 0
    if hasattr(library, "renamex_np"):
        return library.renamex_np(*paths, ctypes.c_uint(EXCHANGE)) == 0
    return False


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text atomically; raises UserError as `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes indented JSON atomically; raises UserError as `write_atomically`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def is_stream(path: pathlib.Path) -> bool:
    """Whether a path is a pipe or a device: it can be read once, and may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def read_text(
    path: pathlib.Path, may_be_stream: bool = False, max_bytes: int = MAX_TEXT_BYTES
) -> str:
    """Reads a UTF-8 text file, a byte order mark dropped, line ends as they are.

    Args:
      path: of the file.
      may_be_stream: as in `read_bytes`.
      max_bytes: likewise.

    Raises:
      UserError: as `read_bytes`, or the file is not UTF-8; the line is named.
    """
    return decode_text(read_bytes(path, may_be_stream, max_bytes), str(path))


def read_bytes(
    path: pathlib.Path, may_be_stream: bool = False, max_bytes: int = MAX_TEXT_BYTES
) -> bytes:
    """Reads a file.

    Args:
      path: of the file.
      may_be_stream: whether a pipe or a device will do, because the user typed it.
      max_bytes: the most that it may have.

    Raises:
      UserError: the file cannot be read, or is larger than max_bytes.
    """
    data, too_large = bytearray(), f"{path}: larger than {max_bytes:,} bytes"
    try:
        if not may_be_stream and is_stream(path):
            raise UserError(f"{path}: cannot read: no regular file")
        if path.stat().st_size > max_bytes:
            raise UserError(too_large)
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                data += block
                if len(data) > max_bytes:
                    raise UserError(too_large)
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror or error}") from error
    return bytes(data)


def decode_text(data: bytes, name: str, first_line: int = 1) -> str:
    """UTF-8 text; a byte order mark before the first line is dropped.

    Args:
      data: whole lines.
      name: where they come from, for an error.
      first_line: number of the first of them, from 1.

    Raises:
      UserError: they are not UTF-8 text; the line is named.
    """
    try:
        text = data.decode("utf-8-sig" if first_line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        data = error.object  # Without the byte order mark, as error.start counts.
        line = first_line + data.count(b"\n", 0, error.start)
        raise UserError(
            f"{name}, line {line}: not UTF-8 text (byte 0x{data[error.start]:02x});"
            " convert it to UTF-8"
        ) from error
    if "\0" in text:
        line = first_line + text.count("\n", 0, text.index("\0"))
        raise UserError(f"{name}, line {line}: a zero byte: not a text file")
    return text


def reason(error: Exception) -> str:
    """Why a file could not be used, in one line.

    Python's own errors have it by itself; TensorFlow's name the graph's node and
    the operation beside it.
    """
    text = getattr(error, "strerror", None) or str(error)
    text = re.sub(r"\{\{.*?\}\}|\[Op:\w*\].*", "", text.partition("\n")[0])
    return " ".join(text.split()) or type(error).__name__


def expand_home(path: str | os.PathLike[str]) -> pathlib.Path:
    """A path as the user types it, with a leading ``~`` or ``~user`` replaced.

    Raises:
      UserError: that user has no home folder.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: no such home folder") from error


def make_folder(path: pathlib.Path) -> None:
    """Creates a folder and its parents where they are missing.

    Raises:
      UserError: a file stands in the way, or the file system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot create the folder: {error.strerror or error}"
        ) from error
