"""The processes of one training on several machines, and what they tell each other.

Each is a *worker*; the first is the *chief*. Every worker has a connection with the
chief, beside those of TensorFlow, for what is said between two calls of the training:
short messages, a line of JSON each. When a process ends, or its machine is gone, its
connections break, and so the others learn of it while TensorFlow still waits.
"""

import contextlib
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

from ptb_lm.errors import UserError
from ptb_lm.system import program
from ptb_lm.system.interrupts import Interrupted, Interrupts

# sysexits.h, EX_TEMPFAIL: the same command may succeed later.
LOST = 75
NOTICE_SECONDS = 40.0  # after which the loss of a machine is noticed, see KEEP_ALIVE
POLL_SECONDS = 0.2  # while waiting for a message, how often to look for a signal
MAX_LINE = 2**24
# A machine that is gone answers none of these: noticed after 10 + 4 * 5 seconds.
KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class Alone:
    """The one process of an ordinary training: there is nobody to tell anything.

    Attributes:
      index: number of this worker; 0 is the chief.
      count: number of workers.
    """

    index, count = 0, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    @property
    def is_chief(self) -> bool:
        """Whether this process owns the run's folder and the output."""
        return self.index == 0

    def collect(self, value: Any) -> list[Any]:
        """What every worker gives, in order; every worker must call this.

        Args:
          value: this worker's, of what JSON can hold.
        """
        return [value]

    def from_chief(self, work: Callable[[], Any], kind: Any) -> Any:
        """The result of what the chief does; every worker must call this.

        Args:
          work: what the chief alone does; it may raise Interrupted, which then every
            worker does.
          kind: class of the result, with `to_json` and `from_json`; the result may
            be None.
        """
        return work()

    def watch(self, interrupts: Interrupts) -> None:
        """Has the chief learn of this worker's signals while it works for all."""

    def check(self, interrupts: Interrupts) -> None:
        """Raises Interrupted on all workers, if a signal has come to one of them.

        Every worker must call this.
        """
        interrupts.check()

    def check_meanwhile(self, interrupts: Interrupts) -> None:
        """The same, while the chief works for all: it is called there alone."""
        interrupts.check()

    def after_error(self, error: Exception) -> None:
        """Called when TensorFlow fails as if another worker were gone.

        Among several workers this ends the process.
        """


class Connection:
    """A connection between two workers: messages, one line of JSON each."""

    def __init__(self, opened: socket.socket, name: str):
        """Takes an open socket, and what to call the other end."""
        self.name = name
        self._socket, self._lines = opened, opened.makefile("rb")
        self._lock = threading.Lock()
        opened.settimeout(None)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE.items():
            if hasattr(socket, option):
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def send(self, kind: str, value: Any = None) -> None:
        """Sends a message; a connection that is broken is for `receive` to notice."""
        line = json.dumps([kind, value]).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(line)

    def receive(self, timeout: float | None = None) -> tuple[str, Any]:
        """Waits for the next message.

        Args:
          timeout: seconds; None: for ever.

        Returns:
          Its kind and its value.

        Raises:
          OSError: the connection is broken, or the time is over.
          ValueError: this is no message.
        """
        self._socket.settimeout(timeout)
        line = self._lines.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed")
        kind, value = json.loads(line)
        return kind, value

    def close(self) -> None:
        """Closes it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._socket.close()


class Workers(Alone):
    """This process among several.

    The context ends the connections: after an error, the others end too.
    """

    def __init__(self, index: int, count: int, connections: Sequence[Connection]):
        """Takes the connections, and listens to them.

        Args:
          index: number of this worker.
          count: number of all workers.
          connections: of the chief: with each other worker, in order; of another
            worker: with the chief.
        """
        self.index, self.count = index, count
        self._connections = connections
        self._signal, self._said = 0, 0
        self._is_closing, self._ending = False, threading.Lock()
        self._interrupts: Interrupts | None = None
        self._stderr = os.dup(2)  # what is held back of it must not hide the last line
        self._inboxes: list[queue.Queue] = [queue.Queue() for _ in connections]
        for pair in zip(connections, self._inboxes, strict=True):
            threading.Thread(target=self._listen, args=pair, daemon=True).start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Says goodbye, or why this process ends."""
        self._is_closing = True
        for connection in self._connections:
            if error is None or isinstance(error, Interrupted):
                connection.send("bye")
            else:
                text = str(error) if isinstance(error, UserError) else repr(error)
                connection.send("error", text)

    def collect(self, value: Any) -> list[Any]:
        """As `Alone.collect`."""
        if not self.is_chief:
            self._connections[0].send("value", value)
            return self._receive(0)
        values = [value, *map(self._receive, range(len(self._connections)))]
        self._send_all("value", values)
        return values

    def from_chief(self, work: Callable[[], Any], kind: Any) -> Any:
        """As `Alone.from_chief`."""
        if not self.is_chief:
            value = self._receive(0)
            return None if value is None else kind.from_json(value)
        try:
            result = work()
        except Interrupted as interruption:
            self._send_all("stopped", interruption.signal_number)
            raise
        self._send_all("value", None if result is None else result.to_json())
        return result

    def watch(self, interrupts: Interrupts) -> None:
        """As `Alone.watch`."""
        self._interrupts = interrupts

    def check(self, interrupts: Interrupts) -> None:
        """As `Alone.check`."""
        if signal := max(self.collect(interrupts.take())):
            raise Interrupted(signal)

    def check_meanwhile(self, interrupts: Interrupts) -> None:
        """As `Alone.check_meanwhile`."""
        if signal := interrupts.take() or self._signal:
            raise Interrupted(signal)

    def after_error(self, error: Exception) -> None:
        """As `Alone.after_error`: TensorFlow may notice first."""
        time.sleep(NOTICE_SECONDS)  # meanwhile a thread ends the process
        self._end(
            f"TensorFlow lost another worker: {' '.join(str(error).split()):.200}"
        )

    def _send_all(self, kind: str, value: Any) -> None:
        """Sends a message to every other worker."""
        for connection in self._connections:
            connection.send(kind, value)

    def _receive(self, number: int) -> Any:
        """The next value from a connection."""
        while True:
            with contextlib.suppress(queue.Empty):
                kind, value = self._inboxes[number].get(timeout=POLL_SECONDS)
                if kind == "stopped":
                    raise Interrupted(value)
                return value
            signal = self._interrupts.received if self._interrupts else 0
            if signal and not self.is_chief and signal != self._said:
                self._said = signal
                self._connections[0].send("signal", signal)

    def _listen(self, connection: Connection, inbox: queue.Queue) -> None:
        """Takes what comes, in a thread; ends the process where another has ended."""
        while True:
            try:
                kind, value = connection.receive()
            except (OSError, ValueError):
                kind, value = "lost", f"{connection.name} has ended"
            if kind == "bye" or self._is_closing:
                return
            if kind == "lost":
                self._end(value)
            if kind == "error":
                self._end(f"{connection.name} has ended: {value}", 2)
            if kind == "signal":
                self._signal = value
            else:
                inbox.put((kind, value))

    def _end(self, text: str, status: int = LOST) -> NoReturn:
        """Ends this process with one line, whatever its main thread waits for."""
        self._ending.acquire()  # for good: the first reason is the one to tell
        with contextlib.suppress(OSError):
            if status == LOST:
                self._send_all("lost", text)
                text += "; the same command goes on from the last checkpoint"
            line = program.visible(text)
            os.write(self._stderr, f"{program.name()}: {line}\n".encode())
        os._exit(status)
