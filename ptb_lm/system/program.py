"""The program as its user started it: what it calls itself, and its messages."""

import contextlib
import shlex
import sys

# What is typed to start it; whoever starts it otherwise says so by `started_by`.
_words: tuple[str, ...] = ("python", "run_ptb.py")


def started_by(*words: str) -> None:
    """Says what the user typed to start the program, before the options."""
    global _words
    _words = words


def name() -> str:
    """What it calls itself before a message."""
    return _words[-1].rpartition("/")[2]


def command(**options: object) -> str:
    """A command for the user to type: the program with these options, quoted."""
    quoted = [f"--{name}={shlex.quote(str(value))}" for name, value in options.items()]
    return " ".join([shlex.join(_words), *quoted])


def say(message: object) -> None:
    """Writes one line to standard error, after the name of the program."""
    with contextlib.suppress(OSError):  # nobody can be told
        print(f"{name()}: {visible(str(message))}", file=sys.stderr)


def visible(text: str) -> str:
    """A text on one line; what would move or colour a terminal's text is an escape.

    Bytes that are not UTF-8, which Python has as lone surrogates, are escapes too.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
