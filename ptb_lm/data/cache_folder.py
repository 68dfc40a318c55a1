"""The folder that keeps what is slow to make: downloaded and encoded corpora."""

import os
import pathlib

from ptb_lm.config import DataConfig
from ptb_lm.system.files import expand_home


def cache_folder(config: DataConfig) -> pathlib.Path:
    """--cache_dir, or the default folder; UserError as `default_cache_folder`."""
    if config.cache_dir:
        return expand_home(config.cache_dir)
    return default_cache_folder()


def default_cache_folder() -> pathlib.Path:
    """$PTB_LM_CACHE, else $XDG_CACHE_HOME/ptb_lm, else ~/.cache/ptb_lm.

    Raises:
      UserError: the home folder is needed and cannot be found.
    """
    own = os.environ.get("PTB_LM_CACHE")
    if own:
        return expand_home(own)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path there is to be ignored.
    if os.path.isabs(shared):
        return pathlib.Path(shared) / "ptb_lm"
    return expand_home("~/.cache/ptb_lm")
