"""Runs in several export formats, and processes that read them with little else."""

import json
import pathlib
import subprocess
import sys

from ptb_lm.config import Config
from ptb_lm.export.exporter import export_run
from ptb_lm.runs.trained_run import TrainedRun

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
# What a process that reads an export must neither have nor need.
ALONE = """
import json, sys
for name in ("ptb_lm", "run_ptb", "tensorflow", "keras"):
    sys.modules[name] = None
import numpy as np
"""


def export(run, name, **options):
    """Exports a run's best weights in one format; returns the path."""
    (path,) = export_run(TrainedRun(run), name, Config.from_values(options))
    return path


def example_alone(name, *arguments):
    """Runs an example in a process without this project and TensorFlow."""
    code = "import runpy\ndel sys.argv[0]\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return _alone(code, EXAMPLES / name, *arguments)


def run_alone(code, *arguments):
    """What code prints as JSON in such a process."""
    done = _alone(code, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _alone(code, *arguments):
    """A process that has run code."""
    return subprocess.run(
        [sys.executable, "-I", "-c", ALONE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
