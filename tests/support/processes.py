"""Runs in processes of their own, to be killed or hindered at a chosen moment."""

import contextlib
import functools
import importlib
import json
import multiprocessing
import os
import pathlib
import resource
import socket
import sys
import threading

import pytest

from ptb_lm.runs.checkpoint import CheckpointFolder
from tests.support.files import write_random_corpus

SAVE_EVERY = 7


def arguments(corpus, save_path, *more):
    """A command line of two small epochs, 52 steps."""
    return [
        "--model=test",
        f"--data_path={corpus}",
        f"--save_path={save_path}",
        "--hidden_size=8",
        "--batch_size=6",
        "--num_steps=3",
        "--max_max_epoch=2",
        f"--save_every_steps={SAVE_EVERY}",
        "--log_every_steps=3",
        "--sample_tokens=0",  # to trace them takes longer than all else together
        *more,
    ]


def _wrap(place, before=None, after=None):
    """Has functions called before and after the one at "module:dotted.name"."""
    module, _, name = place.partition(":")
    *owners, last = name.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    wrapped = getattr(owner, last)

    def wrapper(*args, **kwargs):
        if before:
            before(*args)
        result = wrapped(*args, **kwargs)
        if after:
            after(*args)
        return result

    setattr(owner, last, wrapper)


def _at_call(number, action):
    """A function that acts when it is called for the number-th time."""
    calls = []

    def count(*_):
        calls.append(None)
        if len(calls) == number:
            action()

    return count


def signal_itself(number, delay=0.0):
    """Sends this process a signal, after so many seconds."""
    threading.Timer(delay, os.kill, (os.getpid(), number)).start()


def among_workers(index, addresses):
    """A hook: the process is one of several workers, by TF_CONFIG."""
    cluster = {"worker": addresses}
    task = {"type": "worker", "index": index}
    text = json.dumps({"cluster": cluster, "task": task})
    return "before", "run_ptb:main", 1, functools.partial(_set_tf_config, text)


def _set_tf_config(text):
    """TF_CONFIG of this process."""
    os.environ |= {"TF_CONFIG": text, "TF_CPP_MIN_LOG_LEVEL": "3"}


def limit_file_size(size):
    """From now on, no file of this process may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _log_steps(path):
    """Appends a process's steps as they are done: "start 0", "done 3", ..."""

    def log(word):
        def write(training, *_):
            with path.open("a") as file:
                file.write(f"{word} {training._position.step}\n")

        return write

    _wrap("ptb_lm.training.trainer:Trainer._restore", after=log("start"))
    _wrap("ptb_lm.training.trainer:Trainer._call", after=log("done"))


def _process(command, output, hooks, with_export):
    """What a forked process does: run the command line, and what hooks say."""
    handle = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    import run_ptb
    from ptb_lm.training import finish

    if not with_export:  # takes longer than all else together
        finish.export_run = lambda *_: None
    _log_steps(pathlib.Path(f"{output}.steps"))
    for side, place, number, action in hooks:
        _wrap(place, **{side: _at_call(number, action)})
    sys.exit(run_ptb.main(command))


class Server:
    """Starts processes that have TensorFlow imported already."""

    def __init__(self):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["ptb_lm.training.trainer", "run_ptb"])

    def run(self, command, output, *hooks, with_export=False):
        """Runs a command line to its end; returns the exit status.

        Args:
          command: flags.
          output: file that takes what is printed, after what it holds.
          hooks: (side, place, number, action): the action is called before or
            after the number-th call of the function at that place.
          with_export: whether a finished run is exported.
        """
        process = self.start(command, output, *hooks, with_export=with_export)
        process.join()
        return process.exitcode

    def start(self, command, output, *hooks, with_export=False):
        """The same without waiting for its end; returns the process."""
        process = self._context.Process(
            target=_process, args=(command, str(output), hooks, with_export)
        )
        process.start()
        return process


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A corpus of random words."""
    return write_random_corpus(tmp_path_factory.mktemp("resume") / "corpus")


def free_addresses(count):
    """Addresses of this machine on which nothing listens."""
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server(("", 0))) for _ in range(count)
        ]
        return [f"localhost:{each.getsockname()[1]}" for each in listeners]


def last_step(run):
    """Steps of the last whole checkpoint; 0 where there is none."""
    checkpoint = CheckpointFolder(run / "checkpoints").load("last")
    return checkpoint.metadata["position"]["step"] if checkpoint else 0
