"""Shards of a corpus: each is encoded by itself, once, and kept.

    CACHE/shards/KEY.ids    the tokens of one file, uint16 or uint32 in the machine's
                            byte order, as numbers of that file's own
    CACHE/shards/KEY.json   {"format": 1, "tokens": [...], "counts": [...],
                             "digest": "..."}: its tokens in the order of their first
                            appearance, and how often each is in it

The vocabulary of a corpus is known only when all of its training text was read, and any
change of a count may give every token another id. So a text is split into tokens once,
and numbered by what its own file has; the ids of the corpus follow from these numbers
by one table for each file, which is quick. KEY is made of the digest of the file and of
the rule that splits it. A file is whole or absent: a killed encoding goes on with those
that are there.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
from typing import Any

import numpy as np

from ptb_lm.data.text_source import FileText, changed_while_read
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary

FORMAT = 1
FOLDER = "shards"
MOST_SMALL = 1 << 16  # ids that 2 bytes can tell apart
_IDS_AT_A_TIME = 1 << 18


def id_type(vocab_size: int, wide: type[np.generic] = np.int32) -> np.dtype:
    """How ids are kept: 2 bytes where they are enough, else the 4 of `wide`."""
    return np.dtype(np.uint16 if vocab_size <= MOST_SMALL else wide)


class _Numbers(dict[str, int]):
    """Token -> number; a new token gets the next one."""

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self)
        return number


@dataclasses.dataclass(frozen=True)
class Shard:
    """What is known of an encoded file beside its numbers.

    Attributes:
      key: its name in the cache.
      tokens: token of each number.
      counts: how often each is in the file.
      digest: of these and the numbers.
    """

    key: str
    tokens: list[str]
    counts: list[int]
    digest: str

    @property
    def num_tokens(self) -> int:
        """Tokens of the file."""
        return sum(self.counts)


def shard_key(piece: FileText, rules: TokenRules, fingerprint: list[object]) -> str:
    """Name of an encoded file in the cache.

    Args:
      piece: the file, or a part of it.
      rules: how it is split.
      fingerprint: of `piece`.
    """
    rule = [rules.token_type, rules.normalize]
    # The first line of a file may begin with a byte order mark, which is left out.
    content = json.dumps([FORMAT, rule, piece.first_line == 1, fingerprint])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def encode_shard(
    folder: pathlib.Path, piece: FileText, rules: TokenRules, fingerprint: list[object]
) -> Shard:
    """Makes sure that a file is encoded in the cache; returns what is known of it.

    Args:
      folder: of the shards.
      piece: the file, or a part of it.
      rules: how it is split.
      fingerprint: of `piece`.

    Raises:
      UserError: as `FileText.blocks`, or the file changes while it is read.
      OSError: the cache cannot be written.
    """
    key = shard_key(piece, rules, fingerprint)
    if shard := _whole(folder, key):
        return shard
    numbers, content = _Numbers(), hashlib.sha256()
    number_of = numbers.__getitem__
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as aside:
        wide = pathlib.Path(aside, "wide")
        with wide.open("wb") as file:
            for block in piece.blocks():
                tokens = rules.split(block.text, close_lines=True)
                ids = np.fromiter(map(number_of, tokens), np.uint32, len(tokens))
                file.write(ids.data)
        if piece.fingerprint() != fingerprint:
            raise changed_while_read(piece)
        narrow = pathlib.Path(aside, "ids")
        dtype = id_type(len(numbers), np.uint32)
        counts = np.zeros(len(numbers), np.int64)
        with wide.open("rb") as file, narrow.open("wb") as out:
            while len(ids := np.fromfile(file, np.uint32, _IDS_AT_A_TIME)):
                counts += np.bincount(ids, minlength=len(numbers))
                data = ids.astype(dtype)
                content.update(data.data)
                out.write(data.data)
            out.flush()
            os.fsync(out.fileno())
        facts: dict[str, Any] = {
            "format": FORMAT,
            "tokens": list(numbers),
            "counts": counts.tolist(),
        }
        facts["digest"] = _digest(facts, content)
        index = pathlib.Path(aside, "index")
        with index.open("w", encoding="utf-8") as text:
            json.dump(facts, text)
            text.flush()
            os.fsync(text.fileno())
        narrow.replace(_ids_path(folder, key))
        index.replace(_index_path(folder, key))  # last: it says that both are there
    return Shard(key, facts["tokens"], facts["counts"], facts["digest"])


def read_shard(folder: pathlib.Path, key: str) -> Shard:
    """What the cache knows of an encoded file.

    Raises:
      OSError, ValueError, LookupError, TypeError: it is not there, or damaged.
    """
    facts = json.loads(_index_path(folder, key).read_text(encoding="utf-8"))
    if facts["format"] != FORMAT:
        raise ValueError(f"of format {facts['format']}, not {FORMAT}")
    return Shard(key, facts["tokens"], facts["counts"], facts["digest"])


def write_ids(
    folder: pathlib.Path,
    key: str,
    vocabulary: Vocabulary,
    path: pathlib.Path,
    first: int,
) -> tuple[int, str | None]:
    """Writes the ids of an encoded file to their place in a corpus.

    Args:
      folder: of the shards.
      key: of the encoded file.
      vocabulary: of the corpus.
      path: of the ids of a split, which is as long as they need.
      first: place of the file's first token in the split.

    Returns:
      How many ids are ``<unk>`` in place of another token; and a token that the
      vocabulary lacks, where it has no ``<unk>``: then nothing is written.

    Raises:
      OSError, ValueError, LookupError, TypeError: a file cannot be read or written.
    """
    shard = read_shard(folder, key)
    try:
        table = vocabulary.encode(shard.tokens)
    except KeyError as error:
        return 0, error.args[0]
    dtype = id_type(len(vocabulary))
    table = table.astype(dtype)
    own = id_type(len(shard.tokens), np.uint32)
    with _ids_path(folder, key).open("rb") as file, path.open("r+b") as out:
        out.seek(first * dtype.itemsize)
        while len(numbers := np.fromfile(file, own, _IDS_AT_A_TIME)):
            out.write(table[numbers].data)
    pairs = zip(shard.tokens, shard.counts, strict=True)
    return sum(count for token, count in pairs if token not in vocabulary), None


def _whole(folder: pathlib.Path, key: str) -> Shard | None:
    """What is known of an encoded file; None where it is not there, or damaged."""
    try:
        shard, content = read_shard(folder, key), hashlib.sha256()
        with _ids_path(folder, key).open("rb") as file:
            while data := file.read(1 << 20):
                content.update(data)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    facts = {"format": FORMAT, "tokens": shard.tokens, "counts": shard.counts}
    return shard if shard.digest == _digest(facts, content) else None


def _digest(facts: dict[str, Any], content: "hashlib._Hash") -> str:
    """Fingerprint of an encoded file: of its index, and of the numbers in `content`."""
    content.update(json.dumps(facts, sort_keys=True).encode())
    return content.hexdigest()


def _ids_path(folder: pathlib.Path, key: str) -> pathlib.Path:
    """Where the numbers of an encoded file are."""
    return folder / f"{key}.ids"


def _index_path(folder: pathlib.Path, key: str) -> pathlib.Path:
    """Where what is known of an encoded file is."""
    return folder / f"{key}.json"


def piece_values(piece: FileText) -> dict[str, Any]:
    """A file as JSON can hold it, for another process."""
    return dataclasses.asdict(piece) | {"path": str(piece.path)}


def piece_of(values: dict[str, Any]) -> FileText:
    """Inverse of `piece_values`."""
    return FileText(**values | {"path": pathlib.Path(values["path"])})
