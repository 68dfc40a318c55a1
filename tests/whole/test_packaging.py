"""What `pip install .` installs is complete."""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ["ptb_lm", "flags", "run_ptb.py", "pyproject.toml", "requirements.txt"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs Python where the project is installed and no checkout is near."""
    folder = tmp_path_factory.mktemp("packaging")
    source, built = folder / "source", folder / "built"
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

    def python(code, check=True):
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(built)},
            check=check,
            capture_output=True,
            text=True,
        )

    return python


def test_presets_are_installed(installed):
    code = (
        "import run_ptb\n"
        "print(run_ptb.__file__)\n"
        "from ptb_lm.runs.presets import presets\n"
        "print(*(path.name for path in presets().values()))\n"
        "print(run_ptb.parse(['--model=medium']).model.hidden_size)"
    )
    file, listed, hidden_size = installed(code).stdout.splitlines()
    assert pathlib.Path(file).parent.name == "built"
    assert listed.split() == sorted(path.name for path in (ROOT / "flags").iterdir())
    assert hidden_size == "650"


def test_the_command_is_installed(installed):
    """As the script that pip writes for it calls it."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    ((name, place),) = scripts.items()
    module, _, function = place.partition(":")
    done = installed(
        f"import sys\nfrom {module} import {function}\n"
        f"sys.argv = ['/nowhere/{name}', '--model=smal']\nsys.exit({function}())",
        check=False,
    )
    assert (name, done.returncode, done.stdout) == ("ptb-lm", 2, "")
    assert done.stderr.startswith("ptb-lm: --model=smal: unknown; ")
