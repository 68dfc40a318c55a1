"""The command line: opens the runs and serves the page."""

import argparse
import importlib.util
import pathlib
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import NoReturn

from ptb_lm.errors import UserError
from ptb_lm.system.quiet_start import start_tensorflow
from run_ptb import set_environment

PROGRAM = "playground.py"


class Parser(argparse.ArgumentParser):
    """A mistake is an error of one line."""

    def error(self, message: str) -> NoReturn:
        """Raises what `main` prints."""
        raise UserError(f"{message}; --help explains")


def port(text: str) -> int:
    """The number of a port; ValueError where it is none."""
    number = int(text)
    if not 1 <= number <= 65535:
        raise ValueError(text)
    return number


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = Parser(
        prog=f"python examples/{PROGRAM}",
        description="Serves a page where people play with trained models.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--weights", choices=["best", "last"], default="best", help="which weights"
    )
    parser.add_argument("--text", default="", help="with which the page opens")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; the default is heard on this machine alone",
    )
    parser.add_argument(
        "--port", type=port, help="default: the first free one from 7860 on"
    )
    return parser.parse_args(arguments)


def names_of(paths: Sequence[str]) -> list[str]:
    """How the page names the runs: by folder where that tells them apart."""
    folders = [pathlib.Path(path).resolve().name for path in paths]
    names = [
        folder if folders.count(folder) == 1 else path
        for folder, path in zip(folders, paths, strict=True)
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({number})"
        for number, name in enumerate(names, start=1)
    ]


def serve(options: argparse.Namespace) -> None:
    """Opens the runs, and serves the page until Ctrl-C."""
    import ptb_lm
    from ptb_lm.runs.trained_run import TrainedRun

    for path in options.runs:  # a wrong path is told before anything takes time
        TrainedRun(pathlib.Path(path).expanduser(), options.weights)
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs gradio: pip install -e '.[playground]'")
    start_tensorflow()
    from playground.page import HEAD, THEME, build
    from playground.table import Table
    from playground.view import Player

    # The page names the unknown tokens itself.
    warnings.filterwarnings("ignore", ".* are not in the vocabulary")
    runs = [ptb_lm.load(path, options.weights) for path in options.runs]
    players = map(Player, runs, names_of(options.runs))
    page = build(Table(list(players), options.text))
    try:
        _, address, _ = page.launch(
            server_name=options.host,
            server_port=options.port,
            theme=THEME,
            head=HEAD,
            footer_links=[],
            share=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise UserError(
            f"cannot listen on {options.host}, port {options.port or '7860 or above'};"
            " type another --port or --host"
        ) from error
    print(f"The page is at {address} (Ctrl-C ends)", flush=True)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    set_environment()
    try:
        serve(parse(arguments))
        return 0
    except UserError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
