"""The complete training state on disk: whole, checked, or not there at all.

A checkpoint is one NumPy archive whose name carries its step and the first
half of its SHA-256 digest: ``last-00000500-<digest>.npz``. It is written aside,
synced and renamed; the one before stays until the new one is in place. Nothing
in it is executed when it is read (`allow_pickle=False`).

Its metadata has the number of the format, which rises when an older version could
no longer read what is written. Format 1 is arrays by the names ``model/WEIGHT``,
``optimizer/WEIGHT/SLOT`` and ``state/LAYER/PART``, and a `Position`. A run that
averages its weights has ``average/WEIGHT`` too, and "averaged" in the metadata says
whether these are the weights to score. "options" and "rounding" are the conditions of
the steps before the checkpoint (`conditions`), and "changes" those that there were.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import warnings
from typing import Any

import numpy as np

from ptb_lm.errors import UserError
from ptb_lm.system import files

_NAME = re.compile(r"(last|best)-(\d{8,})-([0-9a-f]{32})\.npz")
_PENDING = "pending.npz"
_METADATA = "metadata"
FORMAT = 1  # of what is written; absent from the metadata: 1


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes:
      arrays: variables by name.
      metadata: what JSON can hold, as it was saved: counters, history.
      path: its file.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]
    path: pathlib.Path


class CheckpointFolder:
    """The checkpoints of one run: the last few, and the best.

    One process at a time may write; the run folder's lock sees to that.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._damaged: set[pathlib.Path] = set()

    def save(
        self,
        step: int,
        arrays: dict[str, np.ndarray],
        metadata: dict[str, Any],
        best: bool = False,
        keep: int = 2,
    ) -> pathlib.Path:
        """Writes the state after `step` training steps.

        The folder is created where it is missing; the folder around it is not,
        so that a run folder that was removed does not come back in part.

        Args:
          step: training steps taken.
          arrays: variables by name.
          metadata: what JSON can hold.
          best: whether it is the best so far as well as the last.
          keep: how many of the last are kept, this one included.

        Returns:
          The checkpoint's path.

        Raises:
          UserError: it cannot be written; earlier checkpoints are untouched.
        """
        text = json.dumps(metadata | {"format": FORMAT}, allow_nan=False).encode()
        content: dict[str, Any] = arrays | {_METADATA: np.frombuffer(text, np.uint8)}
        pending = self._folder / _PENDING
        try:
            self._folder.mkdir(exist_ok=True)
            self._remove_leftovers()
            files.write_atomically(pending, lambda file: np.savez(file, **content))
            with pending.open("rb") as file:
                digest = _digest(file)
            path = self._folder / f"last-{step:08d}-{digest}.npz"
            best_path = path.with_name(path.name.replace("last", "best", 1))
            if best:
                _link_or_copy(pending, best_path)
            os.replace(pending, path)
            files.sync_folder(self._folder)
            self._prune(path, keep)
            if best:
                self._prune(best_path, keep=1)
        except OSError as error:
            raise UserError(
                f"{self._folder}: cannot write: {error.strerror or error}"
            ) from error
        return path

    def load(self, kind: str) -> Checkpoint | None:
        """Reads the newest whole checkpoint.

        A damaged file is named in a warning and the one before is used.

        Args:
          kind: "last" or "best".

        Returns:
          None where there is no checkpoint at all.

        Raises:
          UserError: there are checkpoints, and all are damaged; or a newer version
            of this project wrote the newest.
        """
        paths = self._paths(kind)
        for path in paths:
            try:
                return _read(path)
            except UserError:
                raise
            except FileNotFoundError:  # a training process has written a newer one
                return self.load(kind)
            except Exception as error:  # a bad file makes NumPy raise almost anything
                self._damaged.add(path)
                reason = " ".join(str(error).split()) or type(error).__name__
                warnings.warn(f"{path}: damaged checkpoint: {reason}", stacklevel=2)
        if paths:
            raise UserError(f"{self._folder}: every '{kind}' checkpoint is damaged")
        return None

    def exist(self, kind: str) -> bool:
        """Whether there are checkpoints of a kind, whole or damaged."""
        return bool(self._paths(kind))

    def _paths(self, kind: str) -> list[pathlib.Path]:
        """Checkpoints of a kind, the newest first."""
        if not self._folder.is_dir():
            return []
        matches = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        found = [(int(m[2]), m[0]) for m in matches if m and m[1] == kind]
        paths = [self._folder / name for _, name in sorted(found, reverse=True)]
        return [path for path in paths if path.is_file()]  # no link to nowhere

    def _prune(self, path: pathlib.Path, keep: int) -> None:
        """Removes all of a kind but the one just written and the few before it.

        Those of the same or of a later step are what a damaged checkpoint, or a
        killed process, left behind: this run has taken these steps anew.
        """
        kind, step = path.name.split("-")[:2]
        others = [other for other in self._paths(kind) if other != path]
        earlier = [
            other
            for other in others
            if int(other.name.split("-")[1]) < int(step) and other not in self._damaged
        ]
        for other in others:
            if other not in earlier[: keep - 1]:
                other.unlink()

    def _remove_leftovers(self) -> None:
        """Removes what a killed process was writing."""
        for path in [self._folder / _PENDING, *self._folder.glob(".*.npz.*")]:
            path.unlink(missing_ok=True)


def _read(path: pathlib.Path) -> Checkpoint:
    """Reads one checkpoint.

    Raises:
      UserError: a newer version wrote it.
      ValueError: its digest is not that of its name, or it does not hold what
        `CheckpointFolder.save` writes.
      Exception: whatever else NumPy or zipfile raise for a bad file.
    """
    with path.open("rb") as file:
        digest = _digest(file)
        if digest != path.stem.split("-")[2]:
            raise ValueError(f"its digest is {digest}, not that of its name")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            # First, for the rest may be different in a newer format.
            metadata = _read_metadata(archive, path)
            arrays = read_arrays(archive)
    del arrays[_METADATA]
    return Checkpoint(arrays, metadata, path)


def read_arrays(archive: Any) -> dict[str, np.ndarray]:
    """All arrays of an open archive of NumPy's, by name.

    Raises:
      ValueError: it is compressed, and might unpack to any size; or it has something
        else than arrays.
      Exception: whatever else NumPy or zipfile raise for a bad file.
    """
    if _compressed(archive):
        raise ValueError("it is compressed")
    arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is not an array")
    return arrays


def _read_metadata(archive: Any, path: pathlib.Path) -> dict[str, Any]:
    """Metadata of an open archive of NumPy's, the number of its format checked."""
    if _compressed(archive) & {_METADATA, f"{_METADATA}.npy"}:
        raise ValueError("its metadata is compressed")
    metadata = json.loads(archive[_METADATA].tobytes())
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is not a JSON object")
    _check_format(metadata.pop("format", 1), path)
    return metadata


def _compressed(archive: Any) -> set[str]:
    """Names of the files in an archive that are compressed."""
    return {file.filename for file in archive.zip.infolist() if file.compress_type}


def _check_format(number: Any, path: pathlib.Path) -> None:
    """Raises UserError where a newer version wrote it; ValueError: no number."""
    if type(number) is not int or number < 1:
        raise ValueError(f"its format is {number!r:.50}")
    if number > FORMAT:
        raise UserError(
            f"{path}: a newer version of ptb_lm wrote it (format {number}; this"
            f" version reads up to {FORMAT}); use that version"
        )


def _digest(file: io.BufferedReader) -> str:
    """First 32 hexadecimal digits of the SHA-256 of an open file."""
    return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _link_or_copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """A second name for a file, or a copy where there are no hard links."""
    try:
        os.link(source, target)
    except FileExistsError:
        pass  # the digest in its name says that it has the same content
    except OSError:  # each file system without links has an error of its own
        with source.open("rb") as content:
            files.write_atomically(
                target, lambda file: shutil.copyfileobj(content, file)
            )


def assign(variables: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Sets variables from arrays of the same names.

    Nothing is set unless all fits.

    Args:
      variables: TensorFlow variables by name.
      arrays: values by the same names.

    Raises:
      UserError: an array is missing, is one too many, or has another shape or
        type.
    """
    unmatched = sorted(variables.keys() ^ arrays.keys())
    if unmatched:
        owner = "model" if unmatched[0] in arrays else "checkpoint"
        raise UserError(
            f"the checkpoint does not fit: the {owner} has no {unmatched[0]}"
        )
    for name, variable in variables.items():
        found, wanted = arrays[name], (list(variable.shape), variable.dtype.name)
        if (list(found.shape), found.dtype.name) != wanted:
            raise UserError(
                f"the checkpoint does not fit: its {name} is {found.dtype.name}"
                f" {list(found.shape)}, the model's {wanted[1]} {wanted[0]}"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])
