"""Digests of files, remembered by what the file system says of them.

To read a large corpus through takes seconds at every start. A file whose size, inode
and times are as they were, the time of its last change among them, is the file that was
read. Programs can set the time of modification, as ``cp -p`` and tar do; the time of
change (ctime) only the system sets, at every change. A file that changed shortly before
it was read is read again, because clocks are coarse (Git calls such files racy).
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import pathlib
import time
from typing import Any

from ptb_lm.data.text_source import FileText
from ptb_lm.errors import UserError
from ptb_lm.system import files

FORMAT = 1
RACY_NS = 2_000_000_000  # the coarsest clock of a file system in use has 2 s
READERS = 4  # files that are read at once: hashlib lets threads run


class Digests:
    """The fingerprints of files, and where they are remembered."""

    def __init__(self, path: pathlib.Path | None):
        """Reads what is remembered.

        Args:
          path: of the file that remembers; None: nothing does.
        """
        self._path, self._known = path, _remembered(path)

    def of(self, pieces: tuple[FileText, ...]) -> list[list[object]]:
        """Fingerprints of files, and remembers them where that can be.

        Raises:
          OSError: a file cannot be read.
          UserError: as `FileText.fingerprint`.
        """
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(self._fingerprint, pieces))
        if self._path and (known := dict(filter(None, (e for _, e in found)))):
            merged = self._known | known
            if merged != self._known:
                with contextlib.suppress(UserError):
                    files.write_json(self._path, {"format": FORMAT, "known": merged})
                self._known = merged
        return [fingerprint for fingerprint, _ in found]

    def _fingerprint(
        self, piece: FileText
    ) -> tuple[list[object], tuple[str, list[Any]] | None]:
        """A file's fingerprint; and what to remember, None where that is not safe."""
        name = json.dumps(
            [
                str(value)
                for value in dataclasses.astuple(
                    dataclasses.replace(piece, path=piece.path.absolute())
                )
            ]
        )
        began, before = time.time_ns(), _signature(piece)
        known = self._known.get(name)
        if isinstance(known, list) and len(known) == 2 and known[0] == before:
            return known[1], None
        fingerprint = piece.fingerprint()
        is_racy = began - max(before[1:3]) < RACY_NS
        if is_racy or _signature(piece) != before:
            return fingerprint, None
        return fingerprint, (name, [before, fingerprint])


def _signature(piece: FileText) -> list[int]:
    """Size, times and place of a file; OSError where it is not there."""
    found = piece.path.stat()
    return [
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_ino,
        found.st_dev,
    ]


def _remembered(path: pathlib.Path | None) -> dict[str, Any]:
    """What a file remembers; nothing where it is not there, or damaged."""
    try:
        if path and path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["format"] == FORMAT:
                return dict(found["known"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return {}
