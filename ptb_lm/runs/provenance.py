"""What a result was measured with: versions, revision, machine."""

import functools
import os
import pathlib
import platform
import subprocess
from typing import Any

import numpy as np


@functools.cache
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
            "cores": _count_cores(),
            "system": platform.platform(),
            "gpus": [d.name for d in tf.config.list_physical_devices("GPU")],
        },
    }


def _git_revision() -> str | None:
    """Commit of the project, "-dirty" appended where files differ from it."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty"]
    command += ["--abbrev=40", "--exclude=*"]
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


def _count_cores() -> int | None:
    """Cores that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor_name() -> str:
    """The processor's model name as the system tells it."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
