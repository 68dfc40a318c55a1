"""Where the cache is, by --cache_dir and the environment."""

import pathlib

import pytest

from ptb_lm.config import DataConfig
from ptb_lm.data.cache_folder import cache_folder, default_cache_folder
from ptb_lm.errors import UserError


def test_default_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PTB_LM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    home_cache = tmp_path / "home" / ".cache" / "ptb_lm"
    assert default_cache_folder() == home_cache
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_cache_folder() == home_cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "ptb_lm"
    monkeypatch.setenv("PTB_LM_CACHE", "")
    assert default_cache_folder() == tmp_path / "xdg" / "ptb_lm"
    monkeypatch.setenv("PTB_LM_CACHE", "~/corpora")
    assert default_cache_folder() == tmp_path / "home" / "corpora"


def test_no_home_folder(monkeypatch):
    monkeypatch.setenv("PTB_LM_CACHE", "~no_such_user_here/cache")
    with pytest.raises(UserError, match="no such home folder"):
        default_cache_folder()


def test_cache_dir_wins_over_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PTB_LM_CACHE", str(tmp_path / "environment"))
    assert cache_folder(DataConfig()) == tmp_path / "environment"
    assert cache_folder(DataConfig(cache_dir="there")) == pathlib.Path("there")
