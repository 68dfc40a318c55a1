"""Shows a download of the corpus on the terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator

from ptb_lm.system.progress import Progress


@contextlib.contextmanager
def download_shown(progress: Progress) -> Iterator[Callable[[int, int | None], None]]:
    """Yields the function that shows a download; clears the bar at the end."""
    begin = time.monotonic()

    def show(done: int, total: int | None) -> None:
        if total:  # else there is no telling what share is done
            rate = done / max(time.monotonic() - begin, 1e-9)
            facts = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
            progress.update("Penn Treebank, download", done, total, facts, rate)

    try:
        yield show
    finally:
        progress.clear()
