"""Imports point one way, and only what trains needs TensorFlow."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ptb_lm"

# From the ground up: modules of the package itself, and rooms. A module may import
# those of lower rooms, and those of its own room as long as that makes no circle.
ROOMS = [
    "errors",
    "registry",
    "options",
    "config",
    "system",
    "data",
    "model",
    "runs",
    "evaluation",
    "inference",
    "export",
    "tensorboard",
    "training",
    "reports",
    "commands",
]
# Of the rooms below `model`, none needs TensorFlow; `start_tensorflow` imports it.
WITHOUT_TENSORFLOW = {"errors", "registry", "options", "config", "system", "data"}
HEAVY = {"tensorflow", "keras", "absl"}


def modules():
    """Name -> syntax tree of every module of the package."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(
            path.read_text(encoding="utf-8"), str(path)
        )
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py"
    }


def imported_names(tree):
    """Dotted names of all that a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "ptb_lm" if node.level else ""
            base = ".".join(filter(None, [package, node.module]))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def import_graph():
    """Module -> the modules of ours that it imports."""
    trees = modules()
    graph = {}
    for name, tree in trees.items():
        graph[name] = set()
        for dotted in imported_names(tree):
            place = dotted.removeprefix("ptb_lm.").split(".")
            found = [".".join(place[:size]) for size in (1, 2, 3)]
            graph[name] |= {other for other in found if other in trees}
    return graph


def room_of(name):
    """The room of a module."""
    return name.split(".")[0]


def run_python(code, *arguments):
    """What a fresh process prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_has_a_room():
    assert {room_of(name) for name in modules()} == set(ROOMS)


def test_imports_point_down():
    upward = [
        f"{name} imports {other}"
        for name, others in import_graph().items()
        for other in others
        if ROOMS.index(room_of(other)) > ROOMS.index(room_of(name))
    ]
    assert not upward, upward


def test_a_room_exports_nothing_but_its_modules():
    """Only `model` has names of its own, for Keras models that use its layers."""
    for path in PACKAGE.glob("*/__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1 or path.parent.name == "model", path


def test_no_circles():
    graph = import_graph()
    while graph:
        free = {name for name, others in graph.items() if not others & set(graph)}
        assert free, f"in a circle, or above one: {sorted(graph)}"
        graph = {name: graph[name] for name in graph if name not in free}


def test_the_graph_is_seen():
    """The walk above finds imports of every kind."""
    graph = import_graph()
    assert {"data.download", "system.files", "config"} <= graph["data.sources"]
    assert "training.trainer" in graph["commands.train"], "inside a function"
    tree = ast.parse(
        "import ptb_lm.a\nfrom ptb_lm import b\nfrom ptb_lm.c import x\n"
        "from . import d\nfrom .e import y\ndef f():\n    import ptb_lm.g as g\n"
    )
    ours = {name.split(".")[1] for name in imported_names(tree)}
    assert ours == set("abcdeg")


def test_library_reads_no_flags():
    """A notebook's sys.argv holds `-f kernel.json`."""
    for name, tree in modules().items():
        for imported in imported_names(tree):
            assert imported.split(".")[0] not in ("absl", "argparse"), name
            assert imported not in ("sys.argv", "sys.orig_argv"), name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("argv", "orig_argv"), f"{name}:{node.lineno}"


def test_library_does_not_import_the_command_line():
    for name, tree in modules().items():
        roots = {imported.split(".")[0] for imported in imported_names(tree)}
        assert not roots & {"run_ptb", "tests"}, name


def test_without_tensorflow():
    """All modules of the lower rooms, and those of `commands`, which start it late."""
    names = [n for n in modules() if room_of(n) in WITHOUT_TENSORFLOW | {"commands"}]
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    loaded = set(run_python(code, *(f"ptb_lm.{name}" for name in names)))
    assert "ptb_lm" in loaded
    assert not loaded & HEAVY


def test_import_in_a_notebook():
    code = (
        "import json, sys\n"
        "sys.argv = ['ipykernel_launcher.py', '-f', 'kernel.json']\n"
        "import ptb_lm.commands.train, ptb_lm.training.trainer\n"
        "print(json.dumps([sys.argv, 'tensorflow' in sys.modules]))"
    )
    argv, tensorflow = run_python(code)
    assert argv == ["ipykernel_launcher.py", "-f", "kernel.json"]
    assert tensorflow


@pytest.mark.parametrize(
    "arguments, status",
    [
        (["--help"], 0),
        (["--model=large", "--helpfull"], 0),
        (["--no_such_flag"], 2),
        (["--data_path=/nowhere/at/all"], 2),
    ],
)
def test_quick_answers_do_not_import_tensorflow(arguments, status):
    code = (
        "import json, runpy, sys\n"
        "sys.argv = ['run_ptb.py', *sys.argv[1:]]\n"
        "try:\n"
        "    runpy.run_path('run_ptb.py', run_name='__main__')\n"
        "except SystemExit as error:\n"
        "    status = error.code\n"
        "loaded = sorted({n.split('.')[0] for n in sys.modules})\n"
        "print(json.dumps([status, loaded]))"
    )
    found, loaded = run_python(code, *arguments)
    assert found == status
    assert "ptb_lm" in loaded
    assert not {"tensorflow", "keras"} & set(loaded)


@pytest.mark.parametrize("flag", ["--help", "--helpfull"])
def test_help(flag):
    """By group, with defaults, in 80 columns; --help the options most used."""
    from ptb_lm.config import option_groups
    from ptb_lm.options import format_value, help_text

    done = subprocess.run(
        ["python", "run_ptb.py", flag],
        cwd=ROOT,
        env=os.environ | {"PATH": os.path.dirname(sys.executable)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert flag == "--helpfull" or len(lines) <= 130
    text = " ".join(done.stdout.split())
    for heading, options in option_groups():
        expected = [o for o in options if flag == "--helpfull" or o.metadata["common"]]
        assert (heading in lines) == bool(expected)
        for option in options:
            shown = f"--{option.name}={format_value(option.default)}"
            entry = f"{shown} {' '.join(help_text(option).split())}"
            assert (entry in text) == (option in expected), option.name
    assert ("All options: --helpfull." in text) == (flag == "--help")
