"""Text files -> tokens -> ids: the corpora that ``--data_path`` can name.

The ids of text files are written to a cache when they are first read, and are
memory-mapped from there: a second run encodes nothing, and neither needs memory
for more than a block of text.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import pathlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator

import numpy as np

from ptb_lm import download, files, grammar
from ptb_lm.config import DataConfig
from ptb_lm.errors import UserError
from ptb_lm.text_source import TextSource, tokenize
from ptb_lm.vocabulary import END_OF_SENTENCE, UNKNOWN, Vocabulary

SPLITS = ("train", "valid", "test")
_CACHE_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus as ids.

    Attributes:
      name: short name of the corpus, for run folders and tables.
      splits: "train", "valid", "test" -> ids, int32 [tokens].
      vocabulary: of the training text.
      floor_perplexity: the lowest perplexity that any model can reach in the
        long run, where the source of the text is known; else None.
    """

    name: str
    splits: dict[str, np.ndarray]
    vocabulary: Vocabulary
    floor_perplexity: float | None = None

    def digest(self) -> str:
        """Fingerprint of the vocabulary and the three texts."""
        content = hashlib.sha256("\0".join(self.vocabulary.tokens).encode())
        for split, ids in self.splits.items():
            content.update(f"{split} {len(ids)}".encode())
            content.update(ids)
        return content.hexdigest()


def corpus_name(data_path: str) -> str:
    """Short name of the corpus that a ``--data_path`` stands for."""
    if not data_path:
        return "builtin"
    path = pathlib.Path(os.path.realpath(files.expand_home(data_path)))
    return path.name if os.path.isdir(path) else path.stem


def load_corpus(config: DataConfig, vocabulary: Vocabulary | None = None) -> Corpus:
    """Reads and encodes the corpus that a configuration names.

    Args:
      config: where the text is, and what a token is.
      vocabulary: of a trained model; None: that of the training text.

    Raises:
      UserError: a file is missing, empty or not UTF-8, or the valid or test
        text has a word that the training text lacks where there is no `<unk>`.
    """
    name = corpus_name(config.data_path)
    if not config.data_path:
        texts = grammar.builtin_corpus()
        sources = {
            split: TextSource(
                f"built-in {split} text", text=texts[split], part=f"{split} text"
            )
            for split in SPLITS
        }
        floor = None
        if config.token_type == "word":
            floor = math.exp(grammar.ENGLISH.entropy_rate())
        vocabulary, splits = _encode(sources, config, vocabulary)
        return Corpus(name, splits, vocabulary, floor)
    vocabulary, splits = _encode_once(_find_sources(config), config, vocabulary)
    return Corpus(name, splits, vocabulary)


def encode_file(
    path: pathlib.Path, vocabulary: Vocabulary, token_type: str = "word"
) -> np.ndarray:
    """Ids of a text file, int32 [tokens].

    Raises:
      UserError: the file cannot be read, has no word, or has one that the
        vocabulary lacks.
    """
    blocks = list(_encoded_blocks(TextSource(str(path), path), vocabulary, token_type))
    return np.concatenate(blocks)


def _encode_once(sources, config, vocabulary):
    """Vocabulary and splits from the cache, written there if they were not."""
    root = (
        files.expand_home(config.cache_dir)
        if config.cache_dir
        else download.default_cache_dir()
    )
    entry = root / "encoded" / _cache_key(sources, config, vocabulary)
    cached = _read_cache(entry)
    if cached:
        return cached
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".new-") as pending:
            folder = pathlib.Path(pending, "entry")
            folder.mkdir()
            encoded, _ = _encode(sources, config, vocabulary, folder)
            encoded.save(folder / "vocabulary.json")
            shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was first
                folder.rename(entry)
            return _read_cache(entry) or _encode(sources, config, vocabulary)
    except OSError:  # no cache is no reason not to train
        return _encode(sources, config, vocabulary)


def _cache_key(sources, config, vocabulary) -> str:
    """Name of what is encoded: files, their state, and how they are read."""
    content = [_CACHE_FORMAT, config.token_type, config.max_vocab_size]
    content.append(vocabulary.tokens if vocabulary else None)
    for source in sources.values():
        state = source.path.stat()
        place = os.path.realpath(source.path)
        content += [place, state.st_size, state.st_mtime_ns, source.begin, source.end]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _read_cache(entry: pathlib.Path):
    """Memory-mapped splits and their vocabulary; None where they are not whole."""
    try:
        vocabulary = Vocabulary.load(entry / "vocabulary.json")
        splits = {s: np.memmap(entry / f"{s}.ids", np.int32, "r") for s in SPLITS}
    except (OSError, ValueError, UserError):
        return None
    return vocabulary, splits


def _encode(sources, config, vocabulary, folder=None):
    """Vocabulary and splits of the sources.

    Args:
      sources: split -> TextSource.
      config: what a token is, and how many are kept.
      vocabulary: to encode with; None: that of the training text.
      folder: where to write the ids instead of returning them; else None.
    """
    if vocabulary is None:
        counts = Counter()
        for _, text in sources["train"].blocks():
            counts.update(tokenize(text, config.token_type))
        if not any(_is_text(token) for token in counts):
            raise _no_words(sources["train"])
        vocabulary = Vocabulary.from_counts(counts, config.max_vocab_size)
    splits = {}
    for split, source in sources.items():
        blocks = _encoded_blocks(source, vocabulary, config.token_type)
        if folder is None:
            splits[split] = np.concatenate(list(blocks))
            continue
        with (folder / f"{split}.ids").open("wb") as file:
            for ids in blocks:
                ids.tofile(file)
    return vocabulary, splits


def _encoded_blocks(
    source: TextSource, vocabulary: Vocabulary, token_type: str
) -> Iterator[np.ndarray]:
    """Yields the ids of a text, int32, block by block.

    Raises:
      UserError: there are no words but line ends, or a word is not in the
        vocabulary, which has no ``<unk>``; the word and the line are named.
    """
    empty = True
    for line, text in source.blocks():
        empty = empty and not text.strip()
        tokens = tokenize(text, token_type)
        try:
            yield vocabulary.encode(tokens)
        except KeyError as error:
            token = error.args[0]
            line += text[: _find_token(text, token, token_type)].count("\n")
            raise UserError(
                f"{source.name}, line {line}: the {token_type} {token!r} is not in the"
                f" training text, which has no {UNKNOWN} either; --max_vocab_size=N"
                f" keeps the N most frequent tokens and maps all others to {UNKNOWN}"
            ) from error
    if empty:
        raise _no_words(source)


def _no_words(source: TextSource) -> UserError:
    """What to raise for a text of nothing but line ends."""
    return UserError(f"{source.name}: no words in the {source.part}")


def _is_text(token: str) -> bool:
    """Whether a token is more than a line end or white space."""
    return token != END_OF_SENTENCE and not token.isspace()


def _find_token(text: str, token: str, token_type: str) -> int:
    """Where in a text a token first stands as a token of its own."""
    if token_type == "char":
        return text.index(token)
    begin = 0
    for line in text.splitlines(keepends=True):
        if token in line.split():
            return begin
        begin += len(line)
    return begin


def _find_sources(config: DataConfig) -> dict[str, TextSource]:
    """Where the three texts are; UserError where they are not."""
    if config.data_path == "ptb" and not pathlib.Path("ptb").exists():
        cache = files.expand_home(config.cache_dir) if config.cache_dir else None
        return _sources_in_folder(download.fetch_ptb(config.ptb_url, cache))
    path = _find(config.data_path)
    if path.is_dir():
        return _sources_in_folder(path)
    if path.is_file():
        return _parts_of_file(path)
    raise UserError(f"--data_path={path}: neither a folder nor a regular file")


def _find(data_path: str) -> pathlib.Path:
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


def _sources_in_folder(folder: pathlib.Path) -> dict[str, TextSource]:
    """ptb.{train,valid,test}.txt or {train,valid,test}.txt of a folder."""
    for prefix in ("ptb.", ""):
        paths = {split: folder / f"{prefix}{split}.txt" for split in SPLITS}
        missing = [path.name for path in paths.values() if not path.is_file()]
        if not missing:
            return {
                split: TextSource(str(path), path, part=f"{split} text")
                for split, path in paths.items()
            }
        if len(missing) < len(SPLITS):
            raise UserError(f"--data_path={folder}: {', '.join(missing)} is missing")
    raise UserError(
        f"--data_path={folder}: has neither ptb.{{train,valid,test}}.txt nor"
        " {train,valid,test}.txt"
    )


def _parts_of_file(path: pathlib.Path) -> dict[str, TextSource]:
    """A file's lines: the first 90 % to train, 5 % to valid, 5 % to test."""
    lines, blank = 0, True
    try:
        with path.open("rb") as file:
            for line in file:
                lines += 1
                blank = blank and not line.strip()
        if blank:
            raise UserError(f"{path}: no words in the file")
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
        split: TextSource(
            str(path), path, begin, end, first[split] + 1, part=f"{split} text"
        )
        for split, (begin, end) in zip(SPLITS, itertools.pairwise(offsets), strict=True)
    }


def _line_offsets(path: pathlib.Path, numbers: list[int]) -> list[int]:
    """Where in a file lines begin, in bytes; the file's end for the line after it."""
    offsets, offset = [], 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number in numbers:
                offsets.append(offset)
            offset += len(line)
    return [*offsets, offset]
