"""Memory: how much there is, and whether something fits in it.

What cannot fit is refused before it begins, because Linux would let it begin and kill
it later.
"""

import pathlib

from ptb_lm.errors import UserError

MEMINFO = pathlib.Path("/proc/meminfo")
# Memory limits of the control group that a container sees as its own, version 2
# and version 1.
GROUP_LIMITS = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_bytes() -> int | None:
    """Memory that can be had at most, swap included; None where nothing tells."""
    found = []
    try:
        lines = MEMINFO.read_text().splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        found.append(1024 * (kilobytes["MemAvailable"] + kilobytes["SwapFree"]))
    except (OSError, LookupError, ValueError):
        pass
    for path in GROUP_LIMITS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # not of this system, or "max": no limit
            continue
    return min(found, default=None)


def check_fits(needed: int, what: str, advice: str) -> None:
    """Raises UserError where more bytes are needed than there are."""
    available = available_bytes()
    if available is not None and needed > available:
        raise UserError(
            f"{what} needs at least {needed / 1e9:,.2f} GB of memory, and there are"
            f" {available / 1e9:,.2f}; {advice}"
        )
