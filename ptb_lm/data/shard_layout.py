"""Where the files of a corpus of many files, its shards, are in a folder.

    FOLDER/train.txt                     a text that is one file
    FOLDER/train-*.txt                   its shards, beside those of the others
    FOLDER/train/*.txt                   its shards, in a folder of their own

and the same of valid and test. Each file may be compressed (.txt.gz). Files that are
called like shards of the One Billion Word Benchmark (Chelba et al. 2013),
news.en-00001-of-00100, may do without .txt. The shards of a text are one text, in the
order of their names.
"""

import pathlib
import re
from collections.abc import Iterable

from ptb_lm.data.text_source import (
    SPLITS,
    FileText,
    JoinedText,
    Sources,
    TextSource,
)
from ptb_lm.errors import UserError

COMPRESSED = ".gz"  # how the name of a file ends that gzip has compressed
_TEXT = re.compile(r"(\.txt|-\d+-of-\d+)(\.gz)?$")


def texts_of_shards(folder: pathlib.Path, token_type: str) -> Sources | None:
    """The texts of a folder in which one of them, at least, has shards.

    Args:
      folder: --data_path.
      token_type: what a token is; bytes are read as they are, of other texts each
        file ends in a line end.

    Returns:
      None where the folder has no shards and no compressed text.

    Raises:
      UserError: a text is there in more than one way, or one is missing.
    """
    found = {split: _ways(folder, split) for split in SPLITS}
    if not any(name != "one" for ways in found.values() for name in ways):
        return None
    sources: Sources = {}
    for split, ways in found.items():
        if not ways:
            raise UserError(
                f"--data_path={folder}: has shards, but no {split}.txt,"
                f" {split}-*.txt or {split}/*.txt"
            )
        first, *others = ways.values()
        if others:
            raise UserError(
                f"--data_path={folder}: has both {first[0].relative_to(folder)} and"
                f" {others[0][0].relative_to(folder)}; leave one form of the"
                f" {split} text there"
            )
        _check_forms(folder, first)
        sources[split] = _text(folder, split, first, token_type)
    return sources


def _ways(folder: pathlib.Path, split: str) -> dict[str, list[pathlib.Path]]:
    """The files of a text, by how they are arranged."""
    one = folder / f"{split}.txt"
    ways = {
        "one": [one] if one.is_file() else [],
        "compressed": _texts(folder.glob(f"{split}.txt{COMPRESSED}")),
        "beside": _texts(folder.glob(f"{split}-*")),
        "within": _texts(folder.glob(f"{split}/*")),
    }
    return {name: paths for name, paths in ways.items() if paths}


def _texts(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """Those that are texts by their names, sorted by name; hidden files are not."""
    kept = [
        path
        for path in paths
        if _TEXT.search(path.name) and not path.name.startswith(".")
        if path.is_file()
    ]
    return sorted(kept, key=lambda path: path.name)


def _check_forms(folder: pathlib.Path, paths: list[pathlib.Path]) -> None:
    """Raises UserError where a shard is there twice, compressed and not."""
    there = {path.name for path in paths}
    for path in paths:
        plain = path.name.removesuffix(COMPRESSED)
        if plain != path.name and plain in there:
            raise UserError(
                f"--data_path={folder}: has both {path.name} and {plain}; leave one of"
                " them there"
            )


def _text(
    folder: pathlib.Path, split: str, paths: list[pathlib.Path], token_type: str
) -> TextSource:
    """One text of its files."""
    part, are_lines = f"{split} text", token_type != "byte"
    pieces = tuple(
        FileText(
            name=str(path),
            part=part,
            path=path,
            is_closed=are_lines and len(paths) > 1,
            are_lines=are_lines,
            is_compressed=path.name.endswith(COMPRESSED),
        )
        for path in paths
    )
    if len(pieces) == 1:
        return pieces[0]
    return JoinedText(name=str(folder), part=part, pieces=pieces)
