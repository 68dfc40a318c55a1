"""What `pip install .` installs is complete."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ["ptb_lm", "flags", "run_ptb.py", "pyproject.toml", "requirements.txt"]


def test_presets_are_installed(tmp_path):
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()
    for name in [*SOURCES, "README.md", "LICENSE"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = ["-c", "import setuptools; setuptools.setup()", "build"]
    subprocess.run(
        [sys.executable, *build, f"--build-lib={built}"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built / "flags").mkdir()  # another project's, beside ours in site-packages
    code = (
        "import run_ptb\n"
        "print(run_ptb.__file__)\n"
        "from ptb_lm.runs.presets import presets\n"
        "print(*(path.name for path in presets().values()))\n"
        "print(run_ptb.parse(['--model=medium']).model.hidden_size)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(built)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    presets = sorted(path.name for path in (ROOT / "flags").iterdir())
    assert printed == [str(built / "run_ptb.py"), " ".join(presets), "650"]
