"""Sizes that keep a module, a class and a function readable; everything documented."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "ptb_lm"
MODULE_LINES, CLASS_METHODS, FUNCTION_LINES = 400, 15, 60
# Longer ones, and why they are not split.
LONG_MODULES = {"config.py": "options, one after another: nothing to follow"}
LARGE_CLASSES = {"TextModel": "its methods are the functions of an export"}

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
MODULES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(text, name) for name, text in MODULES.items()}


def definitions(kind):
    """(where, node) of all definitions of a kind, inside others too."""
    return [
        (f"{name}:{node.lineno} {node.name}", node)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, kind)
    ]


def is_public(name):
    return not name.startswith("_")


def public_definitions(body, prefix):
    """(where, node) of the public functions and classes here, and their methods."""
    for node in body:
        if isinstance(node, FUNCTION | ast.ClassDef) and is_public(node.name):
            yield f"{prefix} {node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix} {node.name}")


def lines_of_code(function):
    """Lines from `def` to the end, the docstring's left out."""
    docstring = ast.get_docstring(function, clean=False)
    hidden = len(docstring.splitlines()) if docstring else 0
    return function.end_lineno - function.lineno + 1 - hidden


def test_the_package_is_seen():
    assert "model/language_model.py" in MODULES
    assert len(definitions(FUNCTION)) > 200


def test_modules_are_short():
    lines = {name: text.count("\n") for name, text in MODULES.items()}
    long = {name for name, count in lines.items() if count > MODULE_LINES}
    assert not {name: lines[name] for name in long - LONG_MODULES.keys()}
    assert long >= LONG_MODULES.keys(), "no longer long: take it off the list"


def test_classes_are_small():
    methods = {
        where: sum(isinstance(part, FUNCTION) for part in node.body)
        for where, node in definitions(ast.ClassDef)
        if node.name not in LARGE_CLASSES
    }
    assert not {where: n for where, n in methods.items() if n > CLASS_METHODS}


def test_functions_are_short():
    """40 lines are the rule; a few loops over time keep their parts together."""
    lines = {where: lines_of_code(node) for where, node in definitions(FUNCTION)}
    assert not {where: n for where, n in lines.items() if n > FUNCTION_LINES}


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_documented(name):
    assert ast.get_docstring(TREES[name])
    bare = [
        where
        for where, node in public_definitions(TREES[name].body, name)
        if not ast.get_docstring(node)
    ]
    assert not bare
