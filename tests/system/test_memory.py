"""How much memory there is, and what does not fit in it."""

import pytest

from ptb_lm.errors import UserError
from ptb_lm.system import memory


def write(path, text):
    path.write_text(text)
    return path


def test_available_is_the_least_of_what_is_told(tmp_path, monkeypatch):
    told = "MemTotal: 9 kB\nMemAvailable:    300 kB\nSwapFree: 20 kB\n"
    monkeypatch.setattr(memory, "MEMINFO", write(tmp_path / "meminfo", told))
    for limit, expected in (
        ("max\n", 320 * 1024),
        ("4096\n", 4096),
        ("9223372036854771712\n", 320 * 1024),
    ):
        paths = tmp_path / "absent", write(tmp_path / "limit", limit)
        monkeypatch.setattr(memory, "GROUP_LIMITS", paths)
        assert memory.available_bytes() == expected
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "absent")
    assert memory.available_bytes() == 2**63 - 4096
    monkeypatch.setattr(memory, "GROUP_LIMITS", ())
    assert memory.available_bytes() is None
    memory.check_fits(10**30, "anything", "no advice")


def test_this_machine_tells():
    assert 10**6 < memory.available_bytes() < 10**15


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1_500_000_000)
    memory.check_fits(1_500_000_000, "it", "no advice")
    expected = "^it needs at least 1.51 GB of memory, and there are 1.50; buy more$"
    with pytest.raises(UserError, match=expected):
        memory.check_fits(1_510_000_000, "it", "buy more")
