"""The folder of one run: what is in it, and who may write to it."""

import contextlib
import fcntl
import io
import json
import os
import pathlib
import platform
from typing import Any

import numpy as np

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.runs.checkpoint import CheckpointFolder
from ptb_lm.runs.results import Results
from ptb_lm.runs.run_options import check_same_run, recorded
from ptb_lm.system import files

# What a run writes into, or changes, without replacing it as a whole.
WRITTEN_IN_PLACE = ("checkpoints", "train", "valid", "floor", "plugins", "run.lock")


class RunFolder:
    """Paths and small files of a run.

    flags.txt        the full configuration, an absl flagfile
    vocabulary.json  tokens in id order
    checkpoints/     last two and best
    events*, valid/  TensorBoard, also floor/; of version 0.1 train/ too
    plugins/         TensorBoard, the embeddings and profiles
    results.json     scores and what they were measured with
    saved_model/     the best weights, for TensorFlow alone
    model.keras      the best weights, for Keras
    run.lock         held by the process that trains
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.checkpoints = CheckpointFolder(path / "checkpoints")
        self._lock: io.FileIO | None = None

    def open_for_training(self, config: Config, vocabulary: Vocabulary) -> None:
        """Creates the folder, or checks that it holds this very run.

        Takes the run's lock, which the process holds until `close` or its end.

        Raises:
          UserError: another process trains here, the folder holds a run with
            other options or another corpus, or it cannot be written.
        """
        files.make_folder(self.path)
        self._refuse_links()
        lock = self._lock = _take_lock(self.path)
        if self.holds_run():
            check_same_run(self.path, self.config(), config)
            self._check_vocabulary(vocabulary)
        else:
            vocabulary.save(self.path / "vocabulary.json")
            self._write_options(recorded(config))
        _sign_lock(lock, f"process {os.getpid()} on {platform.node()}\n")

    def close(self) -> None:
        """Gives the lock back, where it was taken."""
        if self._lock is not None:
            with contextlib.suppress(UserError, OSError):
                _sign_lock(self._lock, "")
            self._lock.close()
            self._lock = None

    def holds_run(self) -> bool:
        """Whether a run was started in this folder."""
        return os.path.isfile(self.path / "flags.txt")

    def record_options(self, config: Config) -> None:
        """Brings flags.txt up to date: what makes the run, and where its corpus is.

        Other options stay as they were when the run was started.
        """
        stored = self.config()
        there, here = recorded(stored).values(), recorded(config).values()
        names = [*config.run_values(), "data_path"]
        changed = {n: here[n] for n in names if here[n] != there[n]}
        if changed:
            self._write_options(Config.from_values(stored.values() | changed))

    def _write_options(self, config: Config) -> None:
        """Writes flags.txt."""
        files.write_text(self.path / "flags.txt", config.to_text())

    def _check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Raises UserError where the run has another one."""
        if self.vocabulary() != vocabulary:
            raise UserError(
                f"{self.path} holds a run with another vocabulary; has the text"
                " changed? Another --save_path starts another run"
            )

    def _refuse_links(self) -> None:
        """Raises UserError where a run would write past its own folder.

        The lock does not guard what is elsewhere: two runs might share it, and each
        would remove the other's checkpoints.
        """
        for name in WRITTEN_IN_PLACE:
            path = self.path / name
            if path.is_symlink():
                raise UserError(
                    f"{path} is a link, and a run writes into its own folder alone;"
                    " put what it leads to in its place, or make the whole folder a"
                    " link"
                )

    def config(self) -> Config:
        """The options of the run, as they are by now.

        Raises:
          UserError: there is no run in this folder, or flags.txt is damaged.
        """
        path = self.path / "flags.txt"
        if not self.holds_run():
            raise UserError(f"{self.path}: no run there (no flags.txt)")
        return Config.from_text(files.read_text(path), str(path))

    def vocabulary(self) -> Vocabulary:
        """The run's vocabulary; UserError where it cannot be read."""
        return Vocabulary.load(self.path / "vocabulary.json")

    def weights(self, kind: str) -> dict[str, np.ndarray]:
        """The model's variables, by name, of the "best" or "last" checkpoint.

        Where the weights were averaged, these are the averaged ones, for they are the
        ones that were scored.

        Raises:
          UserError: the run has no such checkpoint, or it is damaged, or a weight is
            not finite.
        """
        checkpoint = self.checkpoints.load(kind)
        if checkpoint is None:
            raise UserError(f"{self.path}: no '{kind}' checkpoint yet{self._why(kind)}")
        arrays = checkpoint.arrays
        names = [n.removeprefix("model/") for n in arrays if n.startswith("model/")]
        scored = "average" if checkpoint.metadata.get("averaged") else "model"
        weights = {
            name: arrays[f"{scored}/{name}"]
            for name in names
            if f"{scored}/{name}" in arrays
        }
        for name, values in weights.items():
            if values.dtype.kind != "f" or not np.isfinite(values).all():
                raise UserError(f"{checkpoint.path}: {name} has what is no number")
        return weights

    def _why(self, kind: str) -> str:
        """Why a kind of checkpoint is not there, and what to do."""
        if kind == "best" and self.checkpoints.exist("last"):
            return ": no epoch has ended; --weights=last takes the newest weights"
        return "; train first"

    def write_results(self, results: Results) -> None:
        """Writes results.json atomically."""
        files.write_json(self.path / "results.json", results.to_json())

    def read_results(self) -> Results:
        """What `write_results` wrote; UserError where it cannot be read."""
        path = self.path / "results.json"
        try:
            results = json.loads(files.read_text(path))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not JSON: {error}") from error
        if not isinstance(results, dict):
            raise UserError(f"{path}: not a run's results: no JSON object")
        try:
            return Results.from_json(results)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: not a run's results: {error}") from error


class OthersFolder(RunFolder):
    """A run's folder for a worker that is not the chief: it reads and writes nothing.

    The folder need not be on its machine.
    """

    def __init__(self, path: pathlib.Path):
        super().__init__(path)
        self.checkpoints = _OthersCheckpoints(path)

    def open_for_training(self, config: Config, vocabulary: Vocabulary) -> None:
        """The chief does it."""

    def holds_run(self) -> bool:
        """Whatever it holds is the chief's."""
        return True

    def record_options(self, config: Config) -> None:
        """The chief does it."""

    def write_results(self, results: Results) -> None:
        """The chief does it."""


class _OthersCheckpoints(CheckpointFolder):
    """The checkpoints of a folder that another worker writes."""

    def save(self, *unused: Any, **also_unused: Any) -> pathlib.Path:
        """The chief does it."""
        return self._folder


def _take_lock(folder: pathlib.Path) -> io.FileIO:
    """Locks a folder's run.lock; what that holds is left as it is."""
    path = folder / "run.lock"
    try:
        lock = path.open("ab+", buffering=0)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read(200).decode("utf-8", "replace").strip()
        raise UserError(
            f"{folder}: {owner or 'another process'} is training there"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror}") from error
    return lock


def _sign_lock(lock: io.FileIO, owner: str) -> None:
    """Says in run.lock whose it is, for those who find it locked."""
    try:
        lock.truncate(0)
        lock.write(owner.encode())
    except OSError as error:
        raise UserError(f"{lock.name}: cannot write: {error.strerror}") from error
