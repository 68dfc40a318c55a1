"""Where the three texts of a ``--data_path`` are.

A folder of three files, one or more files that are split by lines, the Penn Treebank,
or the built-in corpus.
"""

import contextlib
import dataclasses
import glob
import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from ptb_lm.config import DataConfig
from ptb_lm.data import download, english
from ptb_lm.data.cache_folder import cache_folder
from ptb_lm.data.shard_layout import COMPRESSED, texts_of_shards
from ptb_lm.data.text_source import (
    SPLITS,
    FileText,
    GivenText,
    JoinedText,
    Sources,
)
from ptb_lm.errors import UserError
from ptb_lm.system import files

_SPACED_PREFIX = "ptb.char."  # of the character version of the Penn Treebank
# Beginnings of file names, those that are looked for first at the front.
_PREFIXES = {
    "word": ("ptb.", ""),
    "char": (_SPACED_PREFIX, "ptb.", ""),
    "byte": ("ptb.", ""),
}


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
    paths = _paths(config.data_path)
    if len(paths) == 1 and paths[0].is_dir():
        return _files_in_folder(paths[0], config.token_type)
    for path in paths:
        if path.name.endswith(COMPRESSED) and config.token_type != "byte":
            raise UserError(
                f"--data_path={path}: a compressed file cannot be split 90/5/5;"
                " decompress it, or give a folder with train, valid and test files"
            )
        if not path.is_file():
            kind = "no regular file"
            if len(paths) == 1:
                kind = "neither a folder nor a regular file"
            raise UserError(f"--data_path={path}: {kind}")
    if config.token_type == "byte":
        return _shares_of_files(paths, config.data_path)
    return _parts_of_files(paths, config.data_path)


def listed(data_path: str) -> list[str]:
    """The paths and patterns of a ``--data_path``, with ``~`` expanded.

    Commas separate them, unless the whole is a path that is there.

    Raises:
      UserError: a user has no home folder.
    """
    path = str(files.expand_home(data_path))
    if "," not in path or os.path.exists(path):
        return [path]
    return [str(files.expand_home(part.strip())) for part in data_path.split(",")]


def is_pattern(path: str) -> bool:
    """Whether a path stands for others, by ``*``, ``?`` or ``[...]``."""
    return glob.has_magic(path) and not os.path.exists(path)


def _paths(data_path: str) -> list[pathlib.Path]:
    """The folder or the files, each once, in the order of the option and the names.

    Raises:
      UserError: a file or folder is not there, or no file matches a pattern.
    """
    found: dict[pathlib.Path, None] = {}
    for part in listed(data_path):
        if not is_pattern(part):
            found[_existing(part)] = None
            continue
        matches = sorted(glob.glob(part, recursive=True))
        paths = [path for path in map(pathlib.Path, matches) if path.is_file()]
        if not paths:
            raise UserError(f"--data_path={part}: no file matches")
        found |= dict.fromkeys(paths)
    return list(found)


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
    return ",".join(map(os.path.abspath, listed(data_path)))


def check_data_path(data_path: str) -> None:
    """Raises UserError where a part of a ``--data_path`` is not there."""
    if data_path and not is_download(data_path):
        _paths(data_path)


def _builtin_texts() -> Sources:
    """The texts that the built-in grammar generates."""
    return {
        split: GivenText(name=f"built-in {split} text", part=f"{split} text", text=text)
        for split, text in english.builtin_corpus().items()
    }


def _existing(name: str) -> pathlib.Path:
    """The path of this name; UserError where nothing is to be found there."""
    path = pathlib.Path(name)
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
    """ptb.{train,valid,test}.txt, shards, or {train,valid,test}.txt of a folder.

    For characters, ptb.char.{train,valid,test}.txt come first.
    """
    for prefix in _PREFIXES[token_type]:
        if not prefix and (texts := texts_of_shards(folder, token_type)):
            return texts
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
        f" {{train,valid,test}}.txt; --data_path='{folder}/*.txt' splits the text of"
        " all its files"
    )


def _parts_of_files(paths: list[pathlib.Path], name: str) -> Sources:
    """The lines of files, one after the other: 90 % to train, 5 % valid, 5 % test.

    Args:
      paths: the files, in this order.
      name: what to call all of them in an error.
    """
    counts = {path: _count_lines(path) for path in paths}
    lines = sum(counted for counted, _ in counts.values())
    name = str(paths[0]) if len(paths) == 1 else name
    if all(is_blank for _, is_blank in counts.values()):
        raise UserError(f"{name}: no words in the file{'s' * (len(paths) > 1)}")
    cuts = [0, lines * 90 // 100, lines * 95 // 100, lines]
    if not 0 < cuts[1] < cuts[2] < lines:
        raise UserError(
            f"{name}: {lines:,} line{'s' * (lines != 1)}, too few to split 90/5/5 into"
            " train, valid and test; put each sentence on a line, or give a folder"
            " with three files"
        )
    pieces: dict[str, list[FileText]] = {split: [] for split in SPLITS}
    first = 0  # line of all, from 0
    for path, (count, _) in counts.items():
        for split, piece in _pieces(path, [cut - first for cut in cuts], count):
            pieces[split].append(piece)
        first += count
    if len(paths) == 1:
        return {split: piece for split, (piece,) in pieces.items()}
    return {
        split: JoinedText(
            name=name,
            part=f"{split} text",
            pieces=tuple(dataclasses.replace(p, is_closed=True) for p in pieces[split]),
        )
        for split in SPLITS
    }


def _shares_of_files(paths: list[pathlib.Path], name: str) -> Sources:
    """The bytes of files, one after the other: 90 % to train, 5 % valid, 5 % test.

    So enwik8 and text8 are split as they are in publications.

    Args:
      paths: the files, in this order.
      name: what to call all of them in an error.

    Raises:
      UserError: a file cannot be found, or there are too few bytes to be split.
    """
    sizes = [FileText(name=str(path), path=path).num_bytes() for path in paths]
    total = sum(sizes)
    name = str(paths[0]) if len(paths) == 1 else name
    cuts = [0, total * 90 // 100, total * 95 // 100, total]
    if not 0 < cuts[1] < cuts[2] < total:
        raise UserError(
            f"{name}: {total} bytes are too few to split 90/5/5 into train, valid and"
            " test; give a folder with three files"
        )
    ends = list(itertools.accumulate(sizes, initial=0))
    found: Sources = {}
    for split, (first, last) in zip(SPLITS, itertools.pairwise(cuts), strict=True):
        pieces = [
            FileText(
                name=str(path),
                part=f"{split} text",
                path=path,
                begin=max(first - begin, 0),
                end=min(last, end) - begin,
                are_lines=False,
            )
            for path, (begin, end) in zip(paths, itertools.pairwise(ends), strict=True)
            if max(first, begin) < min(last, end)
        ]
        found[split] = pieces[0]
        if len(paths) > 1:
            found[split] = JoinedText(
                name=name, part=f"{split} text", pieces=tuple(pieces)
            )
    return found


def _pieces(
    path: pathlib.Path, cuts: list[int], lines: int
) -> Iterator[tuple[str, FileText]]:
    """The parts of a file that belong to the splits.

    Args:
      path: the file.
      cuts: where each split begins and the last one ends, in lines from the file's
        first, which is 0; the file may lie before or behind.
      lines: of the file.
    """
    within = [min(max(cut, 0), lines) for cut in cuts]
    offsets = _line_offsets(path, within)
    for split, (begin, end) in zip(SPLITS, itertools.pairwise(within), strict=True):
        if begin < end:
            yield (
                split,
                FileText(
                    name=str(path),
                    part=f"{split} text",
                    path=path,
                    begin=offsets[begin],
                    end=offsets[end],
                    first_line=begin + 1,
                ),
            )


def _count_lines(path: pathlib.Path) -> tuple[int, bool]:
    """Number of lines of a file, and whether all of them are blank."""
    lines, blank = 0, True
    with _readable(path) as file:
        for line in file:
            lines += 1
            blank = blank and not line.strip()
    return lines, blank


def _line_offsets(path: pathlib.Path, numbers: list[int]) -> dict[int, int]:
    """Where in a file these lines begin, in bytes; its end for the line after it."""
    offsets, offset, number = {}, 0, 0
    with _readable(path) as file:
        for number, line in enumerate(file):
            if number in numbers:
                offsets[number] = offset
            offset += len(line)
    return offsets | {number + 1: offset}


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file; UserError where it cannot be opened or read."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror or error}") from error
