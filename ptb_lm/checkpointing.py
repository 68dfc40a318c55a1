"""The complete training state on disk: whole, checked, or not there at all.

A checkpoint is one NumPy archive whose name carries its step and the first
half of its SHA-256 digest: ``last-00000500-<digest>.npz``. It is written aside,
synced and renamed; the one before stays until the new one is in place. Nothing
in it is executed when it is read (`allow_pickle=False`).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import warnings
import zipfile
from typing import Any

import numpy as np

from ptb_lm import files
from ptb_lm.errors import UserError

_NAME = re.compile(r"(last|best)-(\d{8,})-([0-9a-f]{32})\.npz")
_PENDING = "pending.npz"
_METADATA = "metadata"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes:
      arrays: variables by name.
      metadata: what JSON can hold: counters, history, best score.
      path: its file.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]
    path: pathlib.Path


class CheckpointFolder:
    """The checkpoints of one run: the last two, and the best.

    One process at a time may write; the run folder's lock sees to that.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def save(
        self,
        step: int,
        arrays: dict[str, np.ndarray],
        metadata: dict[str, Any],
        best: bool = False,
    ) -> pathlib.Path:
        """Writes the state after `step` training steps.

        Args:
          step: training steps taken.
          arrays: variables by name.
          metadata: what JSON can hold.
          best: whether it is the best so far as well as the last.

        Returns:
          The checkpoint's path.

        Raises:
          UserError: it cannot be written; earlier checkpoints are untouched.
        """
        files.make_folder(self._folder)
        self._remove_leftovers()
        text = json.dumps(metadata, allow_nan=False).encode()
        content = arrays | {_METADATA: np.frombuffer(text, np.uint8)}
        pending = self._folder / _PENDING
        files.write_atomically(pending, lambda file: np.savez(file, **content))
        path = self._folder / f"last-{step:08d}-{_digest(pending)}.npz"
        try:
            if best:
                best_path = path.with_name(path.name.replace("last", "best", 1))
                _link_or_copy(pending, best_path)
            os.replace(pending, path)
            files.sync_folder(self._folder)
            self._prune("last", keep=2)
            self._prune("best", keep=1)
        except OSError as error:
            raise UserError(f"{path}: cannot write: {error.strerror}") from error
        return path

    def load(self, kind: str) -> Checkpoint | None:
        """Reads the newest whole checkpoint.

        A damaged file is named in a warning and the one before is used.

        Args:
          kind: "last" or "best".

        Returns:
          None where there is no checkpoint at all.

        Raises:
          UserError: there are checkpoints, and all are damaged.
        """
        paths = self._paths(kind)
        for path in paths:
            try:
                return _read(path)
            except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
                warnings.warn(f"{path}: damaged checkpoint: {error}", stacklevel=2)
        if paths:
            raise UserError(f"{self._folder}: every '{kind}' checkpoint is damaged")
        return None

    def _paths(self, kind: str) -> list[pathlib.Path]:
        """Checkpoints of a kind, the newest first."""
        if not self._folder.is_dir():
            return []
        matches = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        found = [(int(m[2]), m[0]) for m in matches if m and m[1] == kind]
        return [self._folder / name for _, name in sorted(found, reverse=True)]

    def _prune(self, kind: str, keep: int) -> None:
        """Removes all but the newest few of a kind."""
        for path in self._paths(kind)[keep:]:
            path.unlink()

    def _remove_leftovers(self) -> None:
        """Removes what a killed process was writing."""
        for path in self._folder.glob(f"*{_PENDING}*"):
            path.unlink(missing_ok=True)


def _read(path: pathlib.Path) -> Checkpoint:
    """Reads one checkpoint; ValueError where its digest is not its name's."""
    digest = _digest(path)
    if digest != _NAME.fullmatch(path.name)[3]:
        raise ValueError(f"its digest is {digest}, not that of its name")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    metadata = json.loads(arrays.pop(_METADATA).tobytes())
    return Checkpoint(arrays, metadata, path)


def _digest(path: pathlib.Path) -> str:
    """First 32 hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _link_or_copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """A second name for a file, or a copy where there are no hard links."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(source, target)
        except PermissionError:
            files.write_atomically(
                target, lambda file: shutil.copyfileobj(source.open("rb"), file)
            )
