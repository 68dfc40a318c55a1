"""A corpus of several files: encoded file by file, in several processes."""

import dataclasses
import json
import os
import pathlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from ptb_lm.config import DataConfig
from ptb_lm.data.encoding import (
    TextFacts,
    encode_text,
    no_words,
    vocabulary_of,
)
from ptb_lm.data.shard_pool import ShardPool, count_workers
from ptb_lm.data.shards import Shard, id_type, piece_values, read_shard
from ptb_lm.data.text_source import FileText, JoinedText, Sources, TextSource
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.system.progress import Update


class Encoded(NamedTuple):
    """What a process says of a file that it encoded.

    Attributes:
      key: its name in the cache.
      tokens: number of its tokens.
      is_blank: whether all of them are line ends or white space.
    """

    key: str
    tokens: int
    is_blank: bool


# Split -> its encoded files, in the text's order.
Files = dict[str, list[Encoded]]


def is_sharded(sources: Sources, config: DataConfig) -> bool:
    """Whether a corpus is encoded file by file; bytes are encoded as they are read."""
    has_several = any(isinstance(source, JoinedText) for source in sources.values())
    return has_several and config.token_type != "byte"


def pieces_of(source: TextSource) -> tuple[FileText, ...]:
    """The files of a text."""
    if isinstance(source, JoinedText):
        return source.pieces
    assert isinstance(source, FileText)
    return (source,)


@dataclasses.dataclass(frozen=True)
class Sharded:
    """A corpus of several files, and where what is made of it goes.

    Attributes:
      sources: its texts.
      config: what a token is, and how many processes work.
      fingerprints: of each text: of a `JoinedText`, those of its files.
      shards: folder of the encoded files.
      folder: where the ids of the splits go.
    """

    sources: Sources
    config: DataConfig
    fingerprints: list[Any]
    shards: pathlib.Path
    folder: pathlib.Path

    def encode(
        self, vocabulary: Vocabulary | None, update: Update
    ) -> tuple[Vocabulary, TextFacts]:
        """Writes SPLIT.ids of every split.

        Args:
          vocabulary: None: it is built of the training text.
          update: called with the bytes of the files that are encoded, and of all.

        Raises:
          UserError: as `encode_shard`, `vocabulary_of` and `encode_blocks`.
          OSError: a file cannot be written.
        """
        self.shards.mkdir(parents=True, exist_ok=True)
        sizes = [source.num_bytes() for source in self.sources.values()]
        workers = count_workers(self.config.encode_workers, sum(sizes))
        pieces = sum(len(pieces_of(source)) for source in self.sources.values())
        with ShardPool(min(workers, pieces)) as pool:
            files = self._encode_files(pool, update)
            facts = TextFacts()
            if vocabulary is None:
                vocabulary, facts = self._vocabulary(files)
            replaced = self._write(pool, files, vocabulary)
        return vocabulary, dataclasses.replace(facts, replaced=replaced)

    def _encode_files(self, pool: ShardPool, update: Update) -> Files:
        """Makes sure that every file is encoded."""
        rules = TokenRules.of(self.config)
        tasks, splits, sizes = [], [], []
        texts = zip(self.sources.items(), self.fingerprints, strict=True)
        for (split, source), found in texts:
            pieces = pieces_of(source)
            of_pieces = found if isinstance(source, JoinedText) else [found]
            for piece, fingerprint in zip(pieces, of_pieces, strict=True):
                tasks.append(
                    {
                        "name": "encode",
                        "folder": str(self.shards),
                        "piece": piece_values(piece),
                        "rules": [rules.token_type, rules.normalize],
                        "fingerprint": fingerprint,
                    }
                )
                splits.append(split)
                sizes.append(piece.num_bytes())
        files: Files = {split: [] for split in self.sources}
        done = 0
        for split, size, result in zip(splits, sizes, pool.do_all(tasks), strict=True):
            files[split].append(Encoded(**result))
            done += size
            update(done, sum(sizes))
        return files

    def _vocabulary(self, files: Files) -> tuple[Vocabulary, TextFacts]:
        """The vocabulary of the training text."""
        counts = Counter[str]()
        for file in files["train"]:
            shard = self._read(file.key)
            counts.update(dict(zip(shard.tokens, shard.counts, strict=True)))

        def has_unknown() -> bool:
            return any(
                not counts.keys() >= set(self._read(file.key).tokens)
                for split, of_split in files.items()
                if split != "train"
                for file in of_split
            )

        return vocabulary_of(counts, self.sources["train"], self.config, has_unknown)

    def _write(
        self, pool: ShardPool, files: Files, vocabulary: Vocabulary
    ) -> dict[str, int]:
        """Writes the ids; returns how many are ``<unk>`` in place of another token."""
        tasks, pieces = [], []
        of_pool = self.folder / "vocabulary.json"
        of_pool.write_text(json.dumps(vocabulary.tokens), encoding="utf-8")
        for split, source in self.sources.items():
            if all(file.is_blank for file in files[split]):
                raise no_words(source)
            path, first = self.folder / f"{split}.ids", 0
            for piece, file in zip(pieces_of(source), files[split], strict=True):
                tasks.append(
                    {
                        "name": "write",
                        "folder": str(self.shards),
                        "key": file.key,
                        "vocabulary": str(of_pool),
                        "path": str(path),
                        "first": first,
                    }
                )
                pieces.append((split, piece))
                first += file.tokens
            with path.open("wb") as out:
                out.truncate(first * id_type(len(vocabulary)).itemsize)
        replaced = dict.fromkeys(self.sources, 0)
        for (split, piece), result in zip(pieces, pool.do_all(tasks), strict=True):
            if result["unknown"] is not None:
                encode_text(piece, vocabulary, self.config)  # it names the line
                raise UserError(f"{piece.name}: {result['unknown']!r} is unknown")
            replaced[split] += result["replaced"]
        of_pool.unlink()
        for split in self.sources:
            with (self.folder / f"{split}.ids").open("rb") as out:
                os.fsync(out.fileno())
        return replaced

    def _read(self, key: str) -> Shard:
        """What is known of an encoded file; OSError where it is damaged by now."""
        try:
            return read_shard(self.shards, key)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise OSError(f"{self.shards}: {key} is damaged") from error


def read_ids(path: pathlib.Path, vocab_size: int) -> np.ndarray:
    """The ids of a split, memory-mapped: uint16 or int32 [tokens]."""
    return np.memmap(path, id_type(vocab_size), "r")
