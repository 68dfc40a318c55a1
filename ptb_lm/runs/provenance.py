"""What a result was measured with: versions, revision, machine."""

import functools
import os
import pathlib
import platform
import re
import subprocess
from typing import Any

import numpy as np

from ptb_lm import __version__

# Sets of instructions that oneDNN and Eigen may have kernels of their own for, as Linux
# names them: vectors and matrices, of x86 and of ARM.
_INSTRUCTIONS = re.compile("(sse4|fma|avx|amx|asimd|sve|bf16|i8mm)[a-z0-9_]*")
# Variables of the environment that make TensorFlow and oneDNN choose other kernels.
SWITCHES = (
    "TF_ENABLE_ONEDNN_OPTS",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)


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
            "gpus": [d.name for d in tf.config.get_visible_devices("GPU")],
        },
    }


@functools.cache
def rounding() -> dict[str, Any]:
    """What the last bits of a training step depend on, besides the checkpoint.

    A matrix product adds up its terms in an order that depends on these: TensorFlow
    and oneDNN cut it up by the number of threads, the instructions of the processor and
    the sizes of its caches, which its name stands for.

    Returns:
      Strings and integers by name.
    """
    import keras
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return {
        "threads": _count_threads() or 0,
        "processor": _processor_type(),
        "instructions": _instructions(),
        "gpus": ", ".join(str(each.get("device_name", "GPU")) for each in details),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "ptb_lm": __version__,
        **{name: os.environ.get(name, "") for name in SWITCHES},
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


def _count_threads() -> int | None:
    """Threads that share one matrix product, as TensorFlow counts them."""
    import tensorflow as tf

    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    named = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    return chosen or (int(named) if named.isdigit() else 0) or _count_cores()


def _processor_name() -> str:
    """The processor's model name as the system tells it."""
    return _of_processor("model name") or platform.processor() or platform.machine()


def _processor_type() -> str:
    """The processor's name with its numbers, where the system tells them.

    A virtual machine may call processors of several generations by one name.
    """
    numbers = [f"{key} {_of_processor(key)}" for key in ("cpu family", "model")]
    known = [number for number in numbers if not number.endswith(" ")]
    return ", ".join([_processor_name(), *known])


def _instructions() -> str:
    """The processor's sets of instructions that matter; empty: not told."""
    words = f"{_of_processor('flags')} {_of_processor('Features')}".split()
    return " ".join(sorted(filter(_INSTRUCTIONS.fullmatch, words)))


@functools.cache
def _of_processor(name: str) -> str:
    """What Linux tells of the first processor under a name; empty: nothing."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        pass
    return ""
