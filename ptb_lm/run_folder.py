"""The folder of one run: what is in it, and who may write to it."""

import fcntl
import json
import os
import pathlib
import platform
import subprocess
from typing import Any

import numpy as np

from ptb_lm import files
from ptb_lm.checkpointing import CheckpointFolder
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.vocabulary import Vocabulary


class RunFolder:
    """Paths and small files of a run.

    flags.txt        the full configuration, an absl flagfile
    vocabulary.json  tokens in id order
    checkpoints/     last two and best
    events/          TensorBoard, a folder for train and one for valid
    results.json     scores and what they were measured with
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.events = path / "events"
        self.checkpoints = CheckpointFolder(path / "checkpoints")
        self._lock = None

    def open_for_training(self, config: Config, vocabulary: Vocabulary) -> None:
        """Creates the folder, or checks that it holds this very run.

        Takes the run's lock, which the process holds until it ends.

        Raises:
          UserError: another process trains here, the folder holds a run with
            other options or another corpus, or it cannot be written.
        """
        existing = self.path / "flags.txt"
        if existing.exists():
            self.check_same_run(config, vocabulary)
        files.make_folder(self.path)
        self._take_lock()
        if not existing.exists():
            vocabulary.save(self.path / "vocabulary.json")
            files.write_text(existing, format_flags(config))

    def check_same_run(self, config: Config, vocabulary: Vocabulary) -> None:
        """Raises UserError listing what this run was started with instead."""
        stored = self.read_flags()
        differences = [
            f"--{name}={stored.get(name)} there, {format_value(value)} here"
            for name, value in config.run_values().items()
            if stored.get(name) != format_value(value)
        ]
        if not differences and self.vocabulary() != vocabulary:
            differences = ["another vocabulary"]
        if differences:
            raise UserError(
                f"{self.path} holds a run with other options:"
                f" {'; '.join(differences)}; repeat its options or give another"
                " --save_path"
            )

    def read_flags(self) -> dict[str, str]:
        """Option names and values of flags.txt, as text.

        Raises:
          UserError: there is no run in this folder.
        """
        path = self.path / "flags.txt"
        if not path.is_file():
            raise UserError(f"--save_path={self.path}: no run there (no flags.txt)")
        lines = files.read_text(path).splitlines()
        pairs = (line.removeprefix("--").partition("=") for line in lines if line)
        return {name: value for name, _, value in pairs}

    def vocabulary(self) -> Vocabulary:
        """The run's vocabulary; UserError where it cannot be read."""
        return Vocabulary.load(self.path / "vocabulary.json")

    def weights(self, kind: str) -> dict[str, np.ndarray]:
        """The model's variables, by name, of the "best" or "last" checkpoint.

        Raises:
          UserError: the run has no such checkpoint, or it is damaged.
        """
        checkpoint = self.checkpoints.load(kind)
        if checkpoint is None:
            raise UserError(f"{self.path}: no '{kind}' checkpoint yet; train first")
        return {
            name.removeprefix("model/"): array
            for name, array in checkpoint.arrays.items()
            if name.startswith("model/")
        }

    def write_results(self, results: dict[str, Any]) -> None:
        """Writes results.json atomically."""
        files.write_json(self.path / "results.json", results)

    def read_results(self) -> dict[str, Any]:
        """What `write_results` wrote; UserError where it cannot be read."""
        path = self.path / "results.json"
        try:
            return json.loads(files.read_text(path))
        except ValueError as error:
            raise UserError(f"{path}: not JSON: {error}") from error

    def _take_lock(self) -> None:
        """Holds run.lock until the process ends, however it ends."""
        path = self.path / "run.lock"
        try:
            self._lock = path.open("a+")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "another process"
            raise UserError(f"{self.path}: {owner} is training there") from error
        except OSError as error:
            raise UserError(f"{path}: cannot write: {error.strerror}") from error
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {platform.node()}\n")
        self._lock.flush()


def format_value(value: Any) -> str:
    """An option's value as a flagfile writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def format_flags(config: Config) -> str:
    """The configuration as an absl flagfile, without the run's own place."""
    lines = [
        f"--{name}={format_value(value)}"
        for name, value in config.values().items()
        if name not in ("save_path", "mode")
    ]
    return "\n".join(lines) + "\n"


def provenance() -> dict[str, Any]:
    """What a result was measured with: versions, revision, machine."""
    import keras
    import tensorflow as tf

    return {
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        "git_revision": _git_revision(),
        "machine": {
            "processor": _processor_name(),
            "cores": len(os.sched_getaffinity(0)),
            "system": platform.platform(),
            "gpus": [d.name for d in tf.config.list_physical_devices("GPU")],
        },
    }


def _git_revision() -> str | None:
    """Commit of the project, "-dirty" appended where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command,
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _processor_name() -> str:
    """The processor's model name as the system tells it."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
