"""Headless Chromium, driven through its DevTools protocol by pipes."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])),
    None,
)
# Chromium asks its maker for much by itself; what is left off here is that, and the
# sandbox, which root cannot have.
SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
]
PATIENCE = 240.0  # seconds, for a machine that is busy with other things


class Browser:
    """One page of Chromium."""

    def __init__(self, to_browser: int, from_browser: int):
        """Opens an empty page."""
        self._to, self._from = to_browser, from_browser
        self._numbers, self._buffer = itertools.count(1), b""
        self._session: dict[str, str] = {}
        self.asked: list[str] = []  # the addresses that pages asked for
        self.said: list[str] = []  # errors on the console
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        attached = self.do("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError

    def _messages(self) -> Iterator[dict[str, Any]]:
        """What Chromium says, one message after the other; events are noted."""
        while True:
            while b"\0" in self._buffer:
                message, _, self._buffer = self._buffer.partition(b"\0")
                self._note(read := json.loads(message))
                yield read
            assert select.select([self._from], [], [], PATIENCE)[0], "no answer"
            received = os.read(self._from, 2**20)
            assert received, "Chromium has ended"
            self._buffer += received

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        if message.get("method") == "Network.webSocketCreated":
            self.asked.append(params["url"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"])[:2000])

    def open(self, address: str, width: int = 1280, height: int = 900) -> None:
        """Opens an address in a window of this size."""
        self.resize(width, height)
        self.do("Page.navigate", url=address)

    def resize(self, width: int, height: int) -> None:
        """Gives the window a size; a narrow one is a phone's."""
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Prefers light or dark pages, as a person's system does."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.do("Emulation.setEmulatedMedia", features=[feature])

    def get(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self.do(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.get(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        """Clicks on the first element that a CSS selector finds."""
        x, y = self._place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.do(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    def point(self, selector: str) -> None:
        """Moves the mouse over an element."""
        x, y = self._place(selector)
        self.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def _place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, in the window and no longer moving."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"!!{element}")
        self.get(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = f"(b => [b.x, b.y, b.width, b.height])({element}.getClientRects()[0])"
        before, now = None, self.get(box)
        while now != before:
            time.sleep(0.05)
            before, now = now, self.get(box)
        return now[0] + now[2] / 2, now[1] + now[3] / 2

    def type(self, text: str) -> None:
        """Types a text, key by key, where the focus is."""
        for letter in text:
            self.do("Input.dispatchKeyEvent", type="char", text=letter)

    def press(self, key: str) -> None:
        """Presses a key that has a name."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowRight": 39, "Backspace": 8}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.do(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **(text if kind == "keyDown" else {}),
            )

    def picture(self, path: pathlib.Path) -> None:
        """Writes what the window shows as a PNG file."""
        data = self.do("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(profile: pathlib.Path) -> Iterator[Browser]:
    """Chromium with a profile of its own, as long as it is needed."""
    assert CHROMIUM, "there is no Chromium"
    # Chromium reads commands from file 3 and writes answers to file 4.
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]
    start = "import os, sys; os.dup2({}, 3); os.dup2({}, 4); os.execv({!r}, sys.argv)"
    command = [sys.executable, "-c", start.format(*high, CHROMIUM)]
    process = subprocess.Popen(
        [*command, *SWITCHES, f"--user-data-dir={profile}"],
        pass_fds=high,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (theirs_in, theirs_out, *high):
        os.close(end)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        os.close(ours_out)  # at which Chromium ends
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_in)
