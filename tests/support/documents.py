"""The project's documents, and what tests look for in them."""

import pathlib
import re

PROJECT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = {
    name: (PROJECT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "BUILD.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "benchmarks/README.md",
        "examples/README.md",
    )
}
README = DOCUMENTS["README.md"]


def marked(text, name):
    """What stands between the comments ``<!-- NAME: begin -->`` and ``end``."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    assert text.count(begin) == text.count(end) == 1, name
    return text.partition(begin)[2].partition(end)[0]


def prose(text):
    """A document without its blocks of code."""
    return re.sub(r"(?s)```.*?```", "", text)
