"""Where the three texts of a ``--data_path`` are.

A folder of three files, one file that is split by lines, the Penn Treebank, or the
built-in corpus.
"""

import itertools
import os
import pathlib

from ptb_lm.config import DataConfig
from ptb_lm.data import download, english
from ptb_lm.data.cache_folder import cache_folder
from ptb_lm.data.text_source import SPLITS, FileText, GivenText, Sources
from ptb_lm.errors import UserError
from ptb_lm.system import files

_SPACED_PREFIX = "ptb.char."  # of the character version of the Penn Treebank
# Beginnings of file names, those that are looked for first at the front.
_PREFIXES = {"word": ("ptb.", ""), "char": (_SPACED_PREFIX, "ptb.", "")}


def find_sources(
    config: DataConfig, progress: download.DownloadProgress | None = None
) -> Sources:
    """Finds the three texts of a corpus, and downloads them where asked to.

    Args:
      config: --data_path and --token_type; for a download also --ptb_url and
        --cache_dir.
      progress: of a download, as `download.fetch_ptb` takes it.

    Raises:
      UserError: a file is missing, cannot be read, or is too short to be split.
    """
    if not config.data_path:
        return _builtin_texts()
    if is_download(config.data_path):
        folder = download.fetch_ptb(
            config.ptb_url, cache_folder(config), progress=progress
        )
        return _files_in_folder(folder, config.token_type)
    path = _existing(config.data_path)
    if path.is_dir():
        return _files_in_folder(path, config.token_type)
    if path.is_file():
        return _parts_of_file(path)
    raise UserError(f"--data_path={path}: neither a folder nor a regular file")


def is_download(data_path: str) -> bool:
    """Whether a ``--data_path`` asks for a download, and is no path."""
    return data_path == "ptb" and not pathlib.Path("ptb").exists()


def absolute_data_path(data_path: str) -> str:
    """A ``--data_path`` that names the same corpus from any folder.

    Raises:
      UserError: it is in a home folder that does not exist.
    """
    if not data_path or is_download(data_path):
        return data_path
    return os.path.abspath(files.expand_home(data_path))


def check_data_path(data_path: str) -> None:
    """Raises UserError where there is nothing at a ``--data_path``."""
    if data_path and not is_download(data_path):
        _existing(data_path)


def _builtin_texts() -> Sources:
    """The texts that the built-in grammar generates."""
    return {
        split: GivenText(name=f"built-in {split} text", part=f"{split} text", text=text)
        for split, text in english.builtin_corpus().items()
    }


def _existing(data_path: str) -> pathlib.Path:
    """The path with ``~`` expanded; UserError where nothing is to be found there."""
    path = files.expand_home(data_path)
    try:
        path.stat()
    except FileNotFoundError as error:
        raise UserError(f"--data_path={path}: no such file or folder") from error
    except OSError as error:
        raise UserError(f"--data_path={path}: {error.strerror or error}") from error
    if path.is_dir() and not os.access(path, os.X_OK):
        raise UserError(f"--data_path={path}: no permission to open what is in it")
    return path


def _files_in_folder(folder: pathlib.Path, token_type: str) -> Sources:
    """ptb.{train,valid,test}.txt or {train,valid,test}.txt of a folder.

    For characters, ptb.char.{train,valid,test}.txt come first.
    """
    for prefix in _PREFIXES[token_type]:
        paths = {split: folder / f"{prefix}{split}.txt" for split in SPLITS}
        missing = [path.name for path in paths.values() if not path.is_file()]
        if not missing:
            is_spaced = prefix == _SPACED_PREFIX
            return {
                split: FileText(
                    name=str(path),
                    part=f"{split} text",
                    path=path,
                    is_spaced=is_spaced,
                )
                for split, path in paths.items()
            }
        if len(missing) < len(SPLITS):
            raise UserError(f"--data_path={folder}: {', '.join(missing)} is missing")
    raise UserError(
        f"--data_path={folder}: has neither ptb.{{train,valid,test}}.txt nor"
        " {train,valid,test}.txt"
    )


def _parts_of_file(path: pathlib.Path) -> Sources:
    """A file's lines: the first 90 % to train, 5 % to valid, 5 % to test."""
    try:
        lines = _count_lines(path)
        first = {"train": 0, "valid": lines * 90 // 100, "test": lines * 95 // 100}
        if not 0 < first["valid"] < first["test"] < lines:
            raise UserError(
                f"{path}: {lines} lines are too few to split 90/5/5 into train,"
                " valid and test; give a folder with three files"
            )
        offsets = _line_offsets(path, [*first.values(), lines])
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror or error}") from error
    return {
        split: FileText(
            name=str(path),
            part=f"{split} text",
            path=path,
            begin=begin,
            end=end,
            first_line=first[split] + 1,
        )
        for split, (begin, end) in zip(SPLITS, itertools.pairwise(offsets), strict=True)
    }


def _count_lines(path: pathlib.Path) -> int:
    """Number of lines of a file; UserError where all of them are blank."""
    lines, blank = 0, True
    with path.open("rb") as file:
        for line in file:
            lines += 1
            blank = blank and not line.strip()
    if blank:
        raise UserError(f"{path}: no words in the file")
    return lines


def _line_offsets(path: pathlib.Path, numbers: list[int]) -> list[int]:
    """Where in a file lines begin, in bytes; the file's end for the line after it."""
    offsets, offset = [], 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number in numbers:
                offsets.append(offset)
            offset += len(line)
    return [*offsets, offset]
