"""Encoded corpora on disk: written when first read, memory-mapped from then on.

    CACHE/encoded/KEY/index.json    {"format": 7, "tokens": [...], "facts": {...},
                                     "digest": "..."}
    CACHE/encoded/KEY/SPLIT.ids     ids in the machine's byte order: uint16 if the
                                    vocabulary has 65,536 tokens at most, else int32
    CACHE/shards/                   see `ptb_lm.data.shards`

KEY is made of digests of the texts, of a given vocabulary and of the options by which
they are read. A second run encodes nothing. Several runs may write at once: each writes
to a folder of its own and renames it into place, so that an entry is whole or absent.
The digest in the index is of all that an entry holds: a damaged one is written anew. A
text that changed while it was encoded makes no entry.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ptb_lm.config import DataConfig
from ptb_lm.data.cache_folder import cache_folder
from ptb_lm.data.digests import Digests
from ptb_lm.data.encoding import (
    EncodedTexts,
    TextFacts,
    build_vocabulary,
    encode_blocks,
    encode_sources,
)
from ptb_lm.data.sharded import Sharded, is_sharded, read_ids
from ptb_lm.data.shards import FOLDER, id_type
from ptb_lm.data.text_source import (
    SPLITS,
    JoinedText,
    Sources,
    changed_while_read,
)
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.system import files
from ptb_lm.system.progress import Update

FORMAT = 7  # raised when an entry's files change, or the tokens that a text becomes
_PENDING = ".new-"
_STALE_SECONDS = 86_400
_READ_BYTES = 1 << 20


# Of each text, None where it has none: see `TextSource.fingerprint`.
Fingerprints = list[list[object] | None]


def encode_once(
    sources: Sources,
    config: DataConfig,
    vocabulary: Vocabulary | None = None,
    update: Update = lambda *_: None,
) -> EncodedTexts:
    """Encodes texts, or finds them encoded in the cache.

    Texts that have no fingerprint are encoded in memory. So are all texts where the
    cache cannot be written: no cache is no reason not to train.

    Args:
      sources: the texts.
      config: what a token is, and --cache_dir.
      vocabulary: as `encode_sources` takes it.
      update: where a corpus of several files is encoded, called with the bytes that
        are done, and all.

    Returns:
      The texts; memory-mapped from the cache where they are in it.

    Raises:
      UserError: as `encode_sources`, a text changes while it is read, or --cache_dir
        is in a home folder that does not exist.
    """
    folder = _folder(config)
    before = _fingerprints(sources, folder)
    entry = folder and _entry(folder, before, config, vocabulary)
    texts = None
    if entry:
        with contextlib.suppress(OSError):
            texts = _read(entry)
            if texts is None:
                with _pending(entry) as new:
                    with _unchanged(sources, before, folder):
                        _write_files(new, sources, config, vocabulary, before, update)
                    texts = _put(new, entry)
    if texts is None:
        with _unchanged(sources, before, folder):
            texts = encode_sources(sources, config, vocabulary)
    return texts


def _fingerprints(sources: Sources, folder: pathlib.Path | None) -> Fingerprints:
    """The texts' fingerprints; None for a file that cannot be read.

    Those of several files are remembered in the cache's folder.
    """
    found: Fingerprints = []
    for source in sources.values():
        try:
            if folder and isinstance(source, JoinedText):
                found.append([*Digests(_known(folder, source)).of(source.pieces)])
            else:
                found.append(source.fingerprint())
        except OSError:  # reading the file will say what is wrong with it
            found.append(None)
    return found


def _known(folder: pathlib.Path, source: JoinedText) -> pathlib.Path | None:
    """Where the digests of a text's files are remembered; None: nowhere."""
    paths = json.dumps([str(piece.path.absolute()) for piece in source.pieces])
    place = folder / FOLDER
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return place / f"known-{hashlib.sha256(paths.encode()).hexdigest()[:32]}.json"


@contextlib.contextmanager
def _unchanged(
    sources: Sources, before: Fingerprints, folder: pathlib.Path | None
) -> Iterator[None]:
    """At the end, raises UserError where a text is not what it was.

    Also where the encoding failed: it may have, because of the change.
    """
    try:
        yield
    finally:
        after = _fingerprints(sources, folder)
        for source, old, new in zip(sources.values(), before, after, strict=True):
            if old != new:
                raise changed_while_read(source)


def _folder(config: DataConfig) -> pathlib.Path | None:
    """The cache's folder, there or not; None where there is no home folder."""
    try:
        return cache_folder(config)
    except UserError:
        if config.cache_dir:
            raise
        return None


def _entry(
    folder: pathlib.Path,
    fingerprints: Fingerprints,
    config: DataConfig,
    vocabulary: Vocabulary | None,
) -> pathlib.Path | None:
    """Folder of the encoded texts, there or not; None where it cannot be told."""
    if None in fingerprints:
        return None
    rules = [config.token_type, config.normalize]
    kept = [config.max_vocab_size, config.min_count, vocabulary and vocabulary.tokens]
    content = json.dumps([FORMAT, rules, kept, fingerprints])
    return folder / "encoded" / hashlib.sha256(content.encode()).hexdigest()[:32]


def _read(entry: pathlib.Path) -> EncodedTexts | None:
    """The memory-mapped texts of an entry; None where they are not whole."""
    paths = [entry / "index.json", *(entry / f"{split}.ids" for split in SPLITS)]
    if not all(path.is_file() for path in paths):  # to open a pipe would take for ever
        return None
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            return None
        if index.pop("digest") != _digest(index, entry):
            return None
        size = len(index["tokens"])
        splits = {s: read_ids(entry / f"{s}.ids", size) for s in SPLITS}
        facts = TextFacts(**index["facts"])
        return EncodedTexts(Vocabulary(index["tokens"]), splits, facts)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, UserError):
        return None


def _digest(index: dict[str, Any], folder: pathlib.Path) -> str:
    """Fingerprint of an entry, but for the digest in its index."""
    content = hashlib.sha256(json.dumps(index, sort_keys=True).encode())
    for split in SPLITS:
        path = folder / f"{split}.ids"
        content.update(f"{split} {path.stat().st_size}".encode())
        with path.open("rb") as file:  # mapped, all of it would count as memory in use
            while data := file.read(_READ_BYTES):
                content.update(data)
    return content.hexdigest()


@contextlib.contextmanager
def _pending(entry: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder beside an entry; OSError where the disk refuses."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(entry.parent)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=_PENDING) as pending:
        folder = pathlib.Path(pending, "entry")
        folder.mkdir()
        yield folder


def _put(folder: pathlib.Path, entry: pathlib.Path) -> EncodedTexts | None:
    """Puts a new entry in its place, unless another run was first, and reads it."""
    if texts := _read(entry):
        return texts
    with contextlib.suppress(OSError):  # another run was first after all
        files.replace_folder(entry, folder)
    return _read(entry)


def _write_files(
    folder: pathlib.Path,
    sources: Sources,
    config: DataConfig,
    vocabulary: Vocabulary | None,
    fingerprints: Fingerprints,
    update: Update,
) -> None:
    """Writes and syncs ids and vocabulary; OSError where the disk refuses."""
    if is_sharded(sources, config):
        shards = folder.parent.parent.parent / FOLDER
        shards.mkdir(parents=True, exist_ok=True)
        _remove_stale(shards)
        corpus = Sharded(sources, config, fingerprints, shards, folder)
        vocabulary, facts = corpus.encode(vocabulary, update)
    else:
        vocabulary, facts = _write_ids(folder, sources, config, vocabulary)
    index = {"format": FORMAT, "tokens": list(vocabulary.tokens)}
    index["facts"] = dataclasses.asdict(facts)
    index["digest"] = _digest(index, folder)
    with (folder / "index.json").open("w", encoding="utf-8") as file:
        json.dump(index, file)
        file.flush()
        os.fsync(file.fileno())


def _write_ids(
    folder: pathlib.Path,
    sources: Sources,
    config: DataConfig,
    vocabulary: Vocabulary | None,
) -> tuple[Vocabulary, TextFacts]:
    """Writes and syncs the ids of texts that are each one file."""
    facts = TextFacts()
    if vocabulary is None:
        vocabulary, facts = build_vocabulary(sources, config)
    dtype, replaced = id_type(len(vocabulary)), Counter[str]()
    for split, source in sources.items():
        with (folder / f"{split}.ids").open("wb") as file:
            for text in encode_blocks(source, vocabulary, config):
                file.write(text.ids.astype(dtype, copy=False).data)
                replaced[split] += text.replaced
            file.flush()
            os.fsync(file.fileno())
    return vocabulary, dataclasses.replace(facts, replaced=dict(replaced))


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what killed runs left half-written; a young one may be at work."""
    for path in folder.glob(f"{_PENDING}*"):
        with contextlib.suppress(OSError):  # another run removed it
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
