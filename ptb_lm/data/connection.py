"""A download's connection, which ends when no more of the file comes.

A timeout of a socket is for one wait. A server that sends something now and then, but
nothing of the file, would hold the program for ever: interim answers such as
``100 Continue``, a head or a trailer byte by byte. A watchdog measures what counts.
"""

import contextlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import urllib.response
from collections.abc import Callable
from typing import IO, Any

Response = http.client.HTTPResponse | urllib.response.addinfourl


class Watchdog:
    """Shuts the connections of a download when nothing of the file comes.

    As a context manager it watches from the beginning of the block to its end.

    Attributes:
      has_bitten: whether it has shut the connections.
    """

    def __init__(self, seconds: float):
        """Takes the time that may pass without a byte of the file."""
        self.has_bitten = False
        self._seconds = seconds
        self._fed = time.monotonic()
        self._sockets: list[socket.socket] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="watchdog", daemon=True
        )

    def __enter__(self) -> "Watchdog":
        """Begins to watch."""
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Watches no longer."""
        self._ended.set()
        self._thread.join()

    def feed(self) -> None:
        """Says that something of the file has come."""
        self._fed = time.monotonic()

    def connection(
        self, kind: type[http.client.HTTPConnection]
    ) -> Callable[..., http.client.HTTPConnection]:
        """Makes connections that this watches; HTTPConnection or HTTPSConnection."""
        sockets = self._sockets

        class Watched(kind):  # type: ignore[misc, valid-type]
            """A connection whose socket the watchdog knows."""

            def connect(self) -> None:
                """Connects; the errors are those of http.client."""
                super().connect()
                sockets.append(self.sock)

        return Watched

    def _watch(self) -> None:
        """Waits until the download ends or starves."""
        while not self._ended.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._fed > self._seconds:
                self.has_bitten = True
                for each in self._sockets:
                    with contextlib.suppress(OSError):  # the server was faster
                        each.shutdown(socket.SHUT_RDWR)


class _HttpHandler(urllib.request.HTTPHandler):
    """Opens http: addresses on watched connections."""

    def __init__(self, watchdog: Watchdog):
        """Takes the watchdog."""
        super().__init__()
        self._connection: Any = watchdog.connection(http.client.HTTPConnection)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The answer; urllib calls this."""
        return self.do_open(self._connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    """Opens https: addresses on watched connections."""

    def __init__(self, watchdog: Watchdog):
        """Takes the watchdog."""
        super().__init__()
        self._connection: Any = watchdog.connection(http.client.HTTPSConnection)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """The answer; urllib calls this."""
        return self.do_open(self._connection, req)


class _RedirectWithinHttp(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only; urllib itself allows ftp too."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request for `newurl`; raises HTTPError where it is refused."""
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            msg = f"{msg}, a redirect to {newurl}, which is refused"
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_address(url: str, timeout: float, watchdog: Watchdog) -> Response:
    """Opens an address for reading; the errors are those of urllib.

    Args:
      url: http, https or file.
      timeout: seconds for one wait on the network.
      watchdog: of the connections.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https", "file"):
        raise ValueError("the address must start with http://, https:// or file://")
    opener = urllib.request.OpenerDirector()
    # Not urllib.request.urlopen: it has ftp: and data: besides, and file: for all.
    handlers = [
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    if scheme == "file":
        handlers.append(urllib.request.FileHandler())
    else:
        handlers += [
            urllib.request.ProxyHandler(),
            _HttpHandler(watchdog),
            _HttpsHandler(watchdog),
            _RedirectWithinHttp(),
        ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener.open(url, timeout=timeout)
