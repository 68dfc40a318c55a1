"""Encoded corpora on disk: written when first read, memory-mapped from then on.

    CACHE/encoded/KEY/index.json    {"format": 4, "bytes": {SPLIT: n}, "tokens": [...]}
    CACHE/encoded/KEY/SPLIT.ids     ids, int32 in the machine's byte order

KEY is made of the files' places, sizes and times and of the options by which they
are read. A second run encodes nothing. Several runs may write at once: each writes to
a folder of its own and renames it into place, so that an entry is whole or absent.
A damaged entry is written anew.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np

from ptb_lm.config import DataConfig
from ptb_lm.data.cache_folder import cache_folder
from ptb_lm.data.encoding import (
    EncodedTexts,
    build_vocabulary,
    encode_blocks,
    encode_sources,
)
from ptb_lm.data.text_source import SPLITS, Sources
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError

FORMAT = 4  # raised when an entry's files change, or the tokens that a text becomes
_PENDING = ".new-"
_STALE_SECONDS = 86_400


def encode_once(sources: Sources, config: DataConfig) -> EncodedTexts:
    """Encodes texts, or finds them encoded in the cache.

    Texts that have no fingerprint are encoded in memory. So are all texts where the
    cache cannot be written: no cache is no reason not to train.

    Args:
      sources: the texts.
      config: what a token is, and --cache_dir.

    Returns:
      The texts; memory-mapped from the cache where they are in it.

    Raises:
      UserError: as `encode_sources`, or --cache_dir is in a home folder that does
        not exist.
    """
    entry = _entry(sources, config)
    if entry:
        with contextlib.suppress(OSError):
            return _read(entry) or _write(entry, sources, config)
    return encode_sources(sources, config)


def _entry(sources: Sources, config: DataConfig) -> pathlib.Path | None:
    """Folder of the encoded texts, there or not; None where it cannot be told."""
    try:
        fingerprints = [source.fingerprint() for source in sources.values()]
    except OSError:  # reading the file will say what is wrong with it
        return None
    if None in fingerprints:
        return None
    try:
        folder = cache_folder(config)
    except UserError:  # there is no home folder
        if config.cache_dir:
            raise
        return None
    options = [config.token_type, config.normalize, config.max_vocab_size]
    content = json.dumps([FORMAT, options, fingerprints])
    return folder / "encoded" / hashlib.sha256(content.encode()).hexdigest()[:32]


def _read(entry: pathlib.Path) -> EncodedTexts | None:
    """The memory-mapped texts of an entry; None where they are not whole."""
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            return None
        splits: dict[str, np.ndarray] = {
            split: np.memmap(entry / f"{split}.ids", np.int32, "r") for split in SPLITS
        }
        if any(splits[split].nbytes != index["bytes"][split] for split in SPLITS):
            return None
        return EncodedTexts(Vocabulary(index["tokens"]), splits)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, UserError):
        return None


def _write(entry: pathlib.Path, sources: Sources, config: DataConfig) -> EncodedTexts:
    """Writes an entry and reads it; OSError where the disk refuses."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(entry.parent)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=_PENDING) as pending:
        folder = pathlib.Path(pending, "entry")
        folder.mkdir()
        _write_files(folder, sources, config)
        shutil.rmtree(entry, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run was first
            folder.rename(entry)
        return _read(entry) or encode_sources(sources, config)


def _write_files(folder: pathlib.Path, sources: Sources, config: DataConfig) -> None:
    """Writes and syncs ids and vocabulary; OSError where the disk refuses."""
    vocabulary = build_vocabulary(sources["train"], config)
    sizes = {}
    for split, source in sources.items():
        with (folder / f"{split}.ids").open("wb") as file:
            for ids in encode_blocks(source, vocabulary, config):
                file.write(ids.data)
            sizes[split] = file.tell()
            file.flush()
            os.fsync(file.fileno())
    index = {"format": FORMAT, "bytes": sizes, "tokens": vocabulary.tokens}
    with (folder / "index.json").open("w", encoding="utf-8") as file:
        json.dump(index, file)
        file.flush()
        os.fsync(file.fileno())


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what killed runs left half-written; a young one may be at work."""
    for path in folder.glob(f"{_PENDING}*"):
        with contextlib.suppress(OSError):  # another run removed it
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
