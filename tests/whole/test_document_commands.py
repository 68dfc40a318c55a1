"""Every command of the documents is run as it stands there, or is listed here with
the reason why it is not.

They are run in a copy of the project whose presets are small and whose data/ptb is
a stand-in for the Penn Treebank, in an empty home folder.
"""

import concurrent.futures
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import run_ptb
from tests.support.documents import DOCUMENTS, PROJECT, README, prose

INSTALLS = "installs packages; .ci/run runs the second command of README.md"
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install -q -r": INSTALLS,
    "python3 -m venv .venv && .venv/bin/pip install -q -e": INSTALLS,
    "source .venv/bin/activate": INSTALLS,
    ".venv/bin/pytest": "would run this test",
    ".venv/bin/ruff": "run by .ci/run",
    ".venv/bin/mypy": "run by .ci/run",
    "tensorboard --logdir=runs": "serves until it is stopped; see test_tensorboard.py",
    "pip install": INSTALLS,
    "jupyter lab": "serves until it is stopped; test_examples.py runs the notebook",
    "python examples/mnist_rows.py": "takes minutes; see test_examples.py",
    "npm install": INSTALLS,
    "node examples/onnx_reader.mjs": "needs node; see test_readers.py",
    "tensorflow_model_server": "pip installs no server; see test_serving.py",
    "curl localhost": "asks that server",
    "sh examples/workers/two_machines.sh": "waits for the other; see test_devices.py",
    "python run_ptb.py --devices=2": "is slow; see test_devices.py",
    "python examples/playground.py": "serves until it is stopped; has its own tests",
    "saved_model_cli show --dir RUN": "RUN stands for a run's folder",
    "python benchmarks/benchmark.py": "takes half an hour, and PyTorch",
    "git worktree add ../before REVISION": "REVISION stands for a commit",
    "python benchmarks/revisions.py": "measures the speed of two checkouts",
    "python benchmarks/products.py": "measures speed",
    "python benchmarks/reading.py": "takes minutes, and a gigabyte of disk",
}
FIRST = "python run_ptb.py --model=small --data_path=data/ptb"  # makes runs/small-ptb
BUILTIN = "python run_ptb.py --max_tokens=2000"  # makes runs/small-builtin
PRESET = """\
--hidden_size=6
--max_max_epoch=1
--batch_size=4
--num_steps=5
"""


def commands(text):
    """Shell commands of a document: of its blocks, and those within sentences."""
    blocks = re.findall(r"(?s)```sh\n(.*?)```", text)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            yield " ".join(re.sub(r"\s+#.*", "", line).split())
    starts = r"(?:python3?|tensorboard|pip|source|saved_model_cli|\.venv/\S+)"
    for line in re.findall(rf"`({starts} [^`]+)`", prose(text)):
        yield " ".join(line.split())


def python_blocks(text):
    return re.findall(r"(?s)```python\n(.*?)```", text)


ALL = list(dict.fromkeys(c for text in DOCUMENTS.values() for c in commands(text)))


def is_run(command):
    return not any(command.startswith(start) for start in NOT_RUN)


def test_the_commands_are_found():
    assert FIRST in ALL and len([c for c in ALL if is_run(c)]) >= 9
    for start in NOT_RUN:
        assert any(command.startswith(start) for command in ALL), start


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a line in the copy of the project; returns its output."""
    folder = tmp_path_factory.mktemp("newcomer")
    project, home = folder / "project", folder / "home"
    home.mkdir()
    for name in ("ptb_lm", "results", "examples"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / name, project / name, ignore=ignored)
    shutil.copy(PROJECT / "run_ptb.py", project)
    (project / "flags").mkdir()
    for path in (PROJECT / "flags").glob("*.flags"):
        (project / "flags" / path.name).write_text(path.read_text() + PRESET)
    for path in project.glob("results/*/flags.txt"):
        path.write_text(path.read_text() + PRESET)
    write_stand_in(project / "data" / "ptb")
    texts = ["anna", "tinyshakespeare", "timemachine", "book", "chinese"]
    for name in texts:
        (project / f"{name}.txt").write_text(3 * README[:3000])
    (project / "my.txt").write_text("the company said\n")
    (project / "sentences.txt").write_text("the company said\nin new york\n")
    nbest = "1\t-3\tthe company said\n1\t-4\tin new york\n"
    (project / "nbest.tsv").write_text(nbest)
    (project / "pairs.tsv").write_text("the company said\tsaid company the\n")
    bin_folder = pathlib.Path(sys.executable).parent
    environment = os.environ | {
        "HOME": str(home),
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(project),
    }

    def run(line):
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"
        return done.stdout

    return run


def write_stand_in(folder):
    """Mikolov's three files, with all words of the README, so the commands' too."""
    plain = re.sub("[^a-z ]", " ", README).split()
    words, generator = sorted({*plain, "<unk>", "N"}), random.Random(0)
    folder.mkdir(parents=True)
    for split, count in (("train", 150), ("valid", 70), ("test", 70)):
        lines = [" ".join(generator.choices(words, k=8)) for _ in range(count)]
        text = "\n".join([" ".join(words), *lines, ""])
        (folder / f"ptb.{split}.txt").write_text(text)


@pytest.mark.slow
def test_every_command_runs(shell):
    """Those that train a model come first, then those that export it, in any order."""
    output = shell(FIRST)
    shell(BUILTIN)
    assert "tensorboard --logdir=runs\n" in output
    typed_next = re.findall(r"(?m)^  (python .*)$", output)
    modes = [run_ptb.parse(shlex.split(line)[2:]).run.mode for line in typed_next]
    assert modes == ["sample", "score", "evaluate", "report"]
    lines = [command for command in ALL if is_run(command) and command != FIRST]
    scripts = [
        f"python - <<'END'\n{block}END"
        for text in DOCUMENTS.values()
        for block in python_blocks(text)
    ]
    assert scripts
    uses = re.compile("--mode=|--init_from=")
    readers = [line for line in lines if line.startswith("python examples/")]
    training = [line for line in lines if not uses.search(line) and line not in readers]
    using = [line for line in lines if uses.search(line)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for group in (training, [*using, *scripts], readers):
            for output in pool.map(shell, group):
                assert "Error" not in output
