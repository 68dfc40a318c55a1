"""How the workers of a training find each other: TF_CONFIG, and a greeting.

TF_CONFIG is an environment variable of TensorFlow: the addresses of all workers, and
which of them this process is. Before TensorFlow connects them, the workers meet at
these addresses and compare what must be the same. So a mistake is told in one line,
where TensorFlow would wait for hours.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

from ptb_lm.errors import UserError
from ptb_lm.system.workers import Connection, Workers

GREETING_SECONDS = 10.0  # for a line, of one who has connected
RETRY_SECONDS = 0.3
JOBS = ("chief", "worker")

# What must be the same on all workers: name -> value, as JSON has it.
Facts = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where the workers are.

    Attributes:
      addresses: of each, host:port; that of the chief is the first.
      index: number of this process.
    """

    addresses: tuple[str, ...]
    index: int

    @classmethod
    def from_environment(cls) -> Self | None:
        """What TF_CONFIG says; None: there is no other worker.

        Raises:
          UserError: it is not what TensorFlow would read, or has other jobs than
            workers.
        """
        text = os.environ.get("TF_CONFIG", "")
        if not text:
            return None
        try:
            values = json.loads(text)
            jobs, task = values.get("cluster", {}), values.get("task", {})
            addresses = [(job, n) for job in jobs for n in range(len(jobs[job]))]
            place = (task["type"], int(task["index"])) if jobs else None
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise UserError(f"TF_CONFIG is not as it should be: {error!r}") from error
        if not jobs:
            return None
        if others := sorted(jobs.keys() - set(JOBS)):
            raise UserError(
                f"TF_CONFIG has the job {others[0]}; this program has only workers"
                " (worker, and one chief)"
            )
        addresses.sort(key=lambda each: (JOBS.index(each[0]), each[1]))
        if place not in addresses or len(jobs.get("chief", [])) > 1:
            raise UserError(
                f"TF_CONFIG: the task {task} is not in the cluster {json.dumps(jobs)}"
            )
        found = tuple(str(jobs[job][number]) for job, number in addresses)
        for address in found:
            _split(address)
        return cls(found, addresses.index(place)) if len(found) > 1 else None

    def name(self, index: int) -> str:
        """What messages call a worker."""
        role = "the chief" if index == 0 else f"worker {index}"
        return f"{role} ({self.addresses[index]})"


def join(cluster: Cluster, facts: Facts, seconds: float) -> Workers:
    """Waits until all workers are there, and have the same facts.

    Args:
      cluster: where they are.
      facts: name -> value; those of every worker must be those of the chief.
      seconds: how long to wait for the others.

    Raises:
      UserError: one has not come, has other facts, or cannot be reached.
    """
    count = len(cluster.addresses)
    deadline, token = time.monotonic() + seconds, secrets.token_hex(8)
    with _listening(cluster) as listener:
        if cluster.index == 0:
            found = _receive_all(cluster, facts, listener, deadline)
            return Workers(0, count, found)
        answering = threading.Thread(
            target=_answer, args=(listener, token), daemon=True
        )
        answering.start()
        chief = _greet(cluster, facts, token, deadline)
        return Workers(cluster.index, count, [chief])


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[socket.socket]:
    """Listens at this worker's address, which TensorFlow takes later."""
    address = cluster.addresses[cluster.index]
    _, port = _split(address)
    try:
        listener = socket.create_server(("", port))
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: cannot listen on port {port} of {address}:"
            f" {error.strerror or error}"
        ) from error
    try:
        yield listener
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()


def _answer(listener: socket.socket, token: str) -> None:
    """Tells whoever connects who this is, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            opened, _ = listener.accept()
            with opened, contextlib.suppress(OSError):
                opened.sendall(f'["token", "{token}"]\n'.encode())


def _greet(cluster: Cluster, facts: Facts, token: str, deadline: float) -> Connection:
    """A worker's part: the connection with the chief, who has agreed to everything."""
    name = cluster.name(0)
    opened = _connect(cluster, 0, deadline)
    connection = Connection(opened, name)
    greeting = {"index": cluster.index, "facts": facts, "token": token}
    connection.send("greeting", greeting)
    # The chief waits as long; what it says then must still be heard.
    left = max(deadline - time.monotonic(), 0.0) + GREETING_SECONDS
    try:
        kind, value = connection.receive(left)
    except (OSError, ValueError) as error:
        raise UserError(f"{name} does not answer: {error}") from error
    if kind != "welcome":
        raise UserError(f"{name} refuses: {value}")
    return connection


def _receive_all(
    cluster: Cluster, facts: Facts, listener: socket.socket, deadline: float
) -> list[Connection]:
    """The chief's part: the connections with all workers, in order."""
    found: dict[int, Connection] = {}
    try:
        while len(found) < len(cluster.addresses) - 1:
            index, connection = _receive_one(cluster, facts, listener, deadline, found)
            found[index] = connection
    except UserError as error:
        for connection in itertools.chain(found.values(), _waiting(listener)):
            connection.send("refused", str(error))
        raise
    for connection in found.values():
        connection.send("welcome")
    return [found[index] for index in sorted(found)]


def _waiting(listener: socket.socket) -> Iterator[Connection]:
    """Workers that have connected and were not heard; they wait for an answer."""
    listener.settimeout(RETRY_SECONDS)
    with contextlib.suppress(OSError):
        while True:
            opened, _ = listener.accept()
            connection = Connection(opened, "")
            # A socket that is closed with something unread loses what it sent.
            with contextlib.suppress(OSError, ValueError):
                connection.receive(RETRY_SECONDS)
            yield connection


def _receive_one(
    cluster: Cluster,
    facts: Facts,
    listener: socket.socket,
    deadline: float,
    found: dict[int, Connection],
) -> tuple[int, Connection]:
    """The next worker: its number, and the connection.

    Raises:
      UserError: none came in time, or one that does not fit.
    """
    while True:
        listener.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            opened, _ = listener.accept()
        except TimeoutError:
            missing = [
                cluster.name(index)
                for index in range(1, len(cluster.addresses))
                if index not in found
            ]
            raise UserError(
                f"{', '.join(missing)} did not come in time; start the same command on"
                " every machine, or give it a longer --join_timeout"
            ) from None
        connection = Connection(opened, "")
        try:
            kind, value = connection.receive(GREETING_SECONDS)
            index, token, theirs = value["index"], value["token"], value["facts"]
            known = kind == "greeting" and index in range(1, len(cluster.addresses))
        except (OSError, ValueError, TypeError, LookupError):
            known = False
        if not known:  # whoever this is, it is no worker
            connection.close()
            continue
        connection.name = cluster.name(index)
        problem = f"there are two of {connection.name}" if index in found else ""
        problem = problem or _difference(connection.name, facts, theirs)
        problem = problem or _unreachable(cluster, index, token)
        if problem:
            connection.send("refused", problem)
            raise UserError(problem)
        return index, connection


def _difference(name: str, facts: Facts, theirs: Facts) -> str:
    """What a worker has otherwise than the chief, in words; empty: nothing."""
    # As JSON has them: a tuple there is a list.
    ours = json.loads(json.dumps(facts))
    differing = [
        f"{key} {theirs.get(key)!s:.80} there, {ours.get(key)!s:.80} with the chief"
        for key in ours | theirs
        if ours.get(key) != theirs.get(key)
    ]
    if not differing:
        return ""
    return (
        f"{name} differs: {'; '.join(differing)}; every worker needs the same command"
        " and the same text"
    )


def _unreachable(cluster: Cluster, index: int, token: str) -> str:
    """Why a worker is not where TF_CONFIG says, in words; empty: it is."""
    try:
        opened = _connect(cluster, index, time.monotonic() + GREETING_SECONDS)
    except UserError as error:
        return str(error)
    connection = Connection(opened, "")
    try:
        found = connection.receive(GREETING_SECONDS)
    except (OSError, ValueError):
        found = None
    finally:
        connection.close()
    if found == ("token", token):
        return ""
    address = cluster.addresses[index]
    return f"TF_CONFIG: at {address} is something else than worker {index}"


def _connect(cluster: Cluster, index: int, deadline: float) -> socket.socket:
    """Connects with a worker, which may be yet to start.

    Raises:
      UserError: it cannot be reached before the deadline.
    """
    while True:
        try:
            return socket.create_connection(
                _split(cluster.addresses[index]), GREETING_SECONDS
            )
        except OSError as error:
            if time.monotonic() + RETRY_SECONDS >= deadline:
                raise UserError(
                    f"{cluster.name(index)} cannot be reached:"
                    f" {error.strerror or error}; is it started, and is its address in"
                    " TF_CONFIG right?"
                ) from error
        time.sleep(RETRY_SECONDS)


def _split(address: str) -> tuple[str, int]:
    """Host and port of an address; UserError where it has none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"TF_CONFIG: {address} is not HOST:PORT")
    return host.strip("[]"), int(port)
