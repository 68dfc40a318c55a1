"""Tasks on shards, in several processes.

A process is a new Python that knows this package alone. So it does not matter what the
calling program has imported or started, as it would with a fork; nor does it need a
guarded main module, as multiprocessing's `spawn` does.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ptb_lm.data.shard_worker import Worker
from ptb_lm.errors import UserError

MOST_WORKERS = 8  # by default: the disk is busy then
SMALL_BYTES = 1 << 23  # it takes longer to start processes than to encode so much
_ROOT = pathlib.Path(__file__).resolve().parents[2]
Task = dict[str, Any]


class _Process:
    """A process that does tasks."""

    def __init__(self) -> None:
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ptb_lm.data.shard_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | environment,
            text=True,
        )

    def do(self, task: Task) -> dict[str, Any]:
        """Has a task done.

        Raises:
          UserError: the process has ended.
        """
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
            if line := self._process.stdout.readline():
                return json.loads(line)
        raise UserError(
            "a process that encodes the corpus was ended, perhaps for want of memory;"
            " the same command goes on with the files that are encoded, and"
            " --encode_workers=1 takes the least memory"
        )

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.communicate()


def count_workers(asked: int, num_bytes: int) -> int:
    """Number of processes.

    Args:
      asked: --encode_workers.
      num_bytes: of all that is encoded.
    """
    if asked:
        return asked
    if num_bytes < SMALL_BYTES or not sys.executable:
        return 1
    cores = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):  # macOS has no such function
        cores = len(os.sched_getaffinity(0))
    return min(cores, MOST_WORKERS)


class ShardPool:
    """Processes that do tasks; with one worker, it is this process."""

    def __init__(self, workers: int):
        """Starts the processes; OSError where the system refuses."""
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._processes: list[_Process] = []
        self._threads = concurrent.futures.ThreadPoolExecutor(workers)
        try:
            for _ in range(workers if workers > 1 else 0):
                self._processes.append(_Process())
        except OSError:
            self.__exit__()
            raise
        for process in self._processes:
            self._free.put(process)

    def __enter__(self) -> "ShardPool":
        return self

    def __exit__(self, *unused: object) -> None:
        for process in self._processes:
            process.end()
        self._threads.shutdown(cancel_futures=True)

    def do_all(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Does tasks side by side.

        Yields:
          The results, in the order of the tasks.

        Raises:
          UserError, OSError: what went wrong with the first task, in order, with
            which something did.
        """
        for result in self._results(tasks):
            if "mistake" in result:
                raise UserError(result["mistake"])
            if "refusal" in result:
                raise OSError(result["refusal"])
            yield result

    def _results(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """The results, whatever they are."""
        if not self._processes:
            yield from map(Worker().do, tasks)
            return
        futures = [self._threads.submit(self._do, task) for task in tasks]
        for future in futures:
            yield future.result()

    def _do(self, task: Task) -> dict[str, Any]:
        """Does a task in a process that has none."""
        process = self._free.get()
        try:
            return process.do(task)
        finally:
            self._free.put(process)
