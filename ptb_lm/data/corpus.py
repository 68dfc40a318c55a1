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
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

from ptb_lm.config import DataConfig
from ptb_lm.data import download, grammar
from ptb_lm.data.text_source import TextSource, tokenize
from ptb_lm.data.vocabulary import END_OF_SENTENCE, UNKNOWN, Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.system import files
from ptb_lm.system.memory import check_fits

SPLITS = ("train", "valid", "test")
_CACHE_FORMAT = 3
_STALE_SECONDS = 86_400
_SPACED_PREFIX = "ptb.char."  # of the character version of the Penn Treebank
_PREFIXES = {"word": ("ptb.", ""), "char": (_SPACED_PREFIX, "ptb.", "")}


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


def load_corpus(
    config: DataConfig, progress: download.Progress | None = None
) -> Corpus:
    """Reads and encodes the corpus that a configuration names.

    Args:
      config: where the text is, and what a token is.
      progress: of a download, as `download.fetch_ptb` takes it.

    Raises:
      UserError: a file is missing, empty or not UTF-8, or the valid or test
        text has a word that the training text lacks where there is no `<unk>`.
    """
    name, floor = corpus_name(config.data_path), None
    if config.data_path:
        vocabulary, splits = _encode_once(_find_sources(config, progress), config)
    else:
        vocabulary, splits = _encode(_builtin_sources(), config)
        if (config.token_type, config.normalize) == ("word", "none") and (
            not config.max_vocab_size
        ):
            floor = math.exp(grammar.ENGLISH.entropy_rate())
    splits = {split: _used(ids, split, config) for split, ids in splits.items()}
    return Corpus(name, splits, vocabulary, floor)


def _used(ids: np.ndarray, split: str, config: DataConfig) -> np.ndarray:
    """The part of a text that --max_tokens leaves."""
    return ids[: config.max_tokens or None] if split == "train" else ids


def encode_split(
    config: DataConfig,
    split: str,
    vocabulary: Vocabulary,
    progress: download.Progress | None = None,
) -> np.ndarray:
    """Ids of one part of a corpus under a trained model's vocabulary.

    Args:
      config: where the text is, and what a token is.
      split: "train", "valid" or "test".
      vocabulary: the model's.
      progress: of a download, as `download.fetch_ptb` takes it.

    Returns:
      Ids, int32 [tokens].

    Raises:
      UserError: as `load_corpus`.
    """
    if config.data_path:
        sources = _find_sources(config, progress)
    else:
        sources = _builtin_sources()
    return _used(_encode_text(sources[split], vocabulary, config), split, config)


def encode_file(
    path: pathlib.Path, vocabulary: Vocabulary, config: DataConfig
) -> np.ndarray:
    """Ids of a text file, int32 [tokens].

    Args:
      path: the file.
      vocabulary: a trained model's.
      config: how that model reads text.

    Raises:
      UserError: the file cannot be read, has no word, or has one that the
        vocabulary lacks.
    """
    return _encode_text(TextSource(str(path), path), vocabulary, config)


def _encode_text(
    source: TextSource, vocabulary: Vocabulary, config: DataConfig
) -> np.ndarray:
    """Ids of a text in memory, int32 [tokens]; UserError where there is too little."""
    # 4 bytes a token, and twice that for a moment: never less than the text itself
    # in characters, and about as much in words.
    check_fits(
        source.num_bytes(),
        f"{source.name}, encoded,",
        "give --cache_dir a folder with room, from where it is read piece by piece",
    )
    return np.concatenate(list(_encoded_blocks(source, vocabulary, config)))


def _encode_once(sources, config):
    """Vocabulary and splits from the cache, written there if they were not."""
    try:
        cache = _cache_dir(config)
    except UserError:  # there is no home folder
        if config.cache_dir:
            raise
        return _encode(sources, config)
    try:
        entry = cache / "encoded" / _cache_key(sources, config)
        cached = _read_cache(entry)
        if cached:
            return cached
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(entry.parent)
        with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".new-") as pending:
            folder = pathlib.Path(pending, "entry")
            folder.mkdir()
            _write_cache(folder, sources, config)
            shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was first
                folder.rename(entry)
            return _read_cache(entry) or _encode(sources, config)
    except OSError:  # no cache is no reason not to train
        return _encode(sources, config)


def _cache_dir(config: DataConfig) -> pathlib.Path:
    """--cache_dir, or the folder that stands for it."""
    if config.cache_dir:
        return files.expand_home(config.cache_dir)
    return download.default_cache_dir()


def _cache_key(sources, config) -> str:
    """Name of what is encoded: files, their state, and how they are read."""
    content = [_CACHE_FORMAT, config.token_type, config.max_vocab_size]
    content.append(config.normalize)
    for source in sources.values():
        state = source.path.stat()
        place = os.path.realpath(source.path)
        content += [place, state.st_size, state.st_mtime_ns, source.begin, source.end]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what killed processes left half-written; a young one may be at work."""
    for path in folder.glob(".new-*"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _write_cache(folder: pathlib.Path, sources, config) -> None:
    """Writes and syncs ids and vocabulary; OSError where the disk refuses."""
    vocabulary = _build_vocabulary(sources["train"], config)
    sizes = {}
    for split, source in sources.items():
        with (folder / f"{split}.ids").open("wb") as file:
            for ids in _encoded_blocks(source, vocabulary, config):
                file.write(ids.data)
            sizes[split] = file.tell()
            file.flush()
            os.fsync(file.fileno())
    with (folder / "index.json").open("w", encoding="utf-8") as file:
        json.dump({"bytes": sizes, "tokens": vocabulary.tokens}, file)
        file.flush()
        os.fsync(file.fileno())


def _read_cache(entry: pathlib.Path):
    """Vocabulary and memory-mapped splits; None where they are not whole."""
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        splits = {s: np.memmap(entry / f"{s}.ids", np.int32, "r") for s in SPLITS}
        if any(splits[s].nbytes != index["bytes"][s] for s in SPLITS):
            return None
        return Vocabulary(index["tokens"]), splits
    except (OSError, ValueError, LookupError, TypeError, UserError):
        return None


def _encode(sources, config):
    """Vocabulary and splits of the sources, in memory."""
    vocabulary = _build_vocabulary(sources["train"], config)
    return vocabulary, {
        split: _encode_text(source, vocabulary, config)
        for split, source in sources.items()
    }


def _build_vocabulary(train: TextSource, config: DataConfig) -> Vocabulary:
    """Vocabulary of the training text; UserError where it has too few."""
    counts = Counter()
    for _, text in train.blocks():
        counts.update(_tokens(train, text, config))
    distinct = sum(map(_is_text, counts))
    if not distinct:
        raise _no_words(train)
    if distinct == 1 and config.token_type == "char":
        raise UserError(
            f"{train.name}: the {train.part} has one distinct character; there is"
            " nothing to learn from it"
        )
    return Vocabulary.from_counts(counts, config.max_vocab_size)


def _tokens(source: TextSource, text: str, config: DataConfig) -> list[str]:
    """Tokens of some lines of a source."""
    return tokenize(text, config.token_type, config.normalize, source.is_spaced)


def _encoded_blocks(
    source: TextSource, vocabulary: Vocabulary, config: DataConfig
) -> Iterator[np.ndarray]:
    """Yields the ids of a text, int32, block by block.

    Raises:
      UserError: there are no words but line ends, or a word is not in the
        vocabulary, which has no ``<unk>``; the word and the line are named.
    """
    empty = True
    for line, text in source.blocks():
        tokens = _tokens(source, text, config)
        empty = empty and not any(map(_is_text, tokens))
        try:
            yield vocabulary.encode(tokens)
        except KeyError as error:
            token = error.args[0]
            line += _lines_before(token, source, text, config)
            raise UserError(
                f"{source.name}, line {line}: the {config.token_type} {token!r} is not"
                f" in the training text, which has no {UNKNOWN} either;"
                " --max_vocab_size=N keeps the N most frequent tokens and maps all"
                f" others to {UNKNOWN}"
            ) from error
    if empty:
        raise _no_words(source)


def _lines_before(token: str, source: TextSource, text: str, config) -> int:
    """Number of lines of a text before the first that has a token."""
    lines = text.split("\n")
    return next(
        number
        for number, line in enumerate(lines)
        if token in _tokens(source, f"{line}\n", config)
    )


def _no_words(source: TextSource) -> UserError:
    """What to raise for a text of nothing but line ends."""
    return UserError(f"{source.name}: no words in the {source.part}")


def _is_text(token: str) -> bool:
    """Whether a token is more than a line end or white space."""
    return token != END_OF_SENTENCE and not token.isspace()


def _builtin_sources() -> dict[str, TextSource]:
    """The texts that the built-in grammar generates."""
    return {
        split: TextSource(f"built-in {split} text", text=text, part=f"{split} text")
        for split, text in grammar.builtin_corpus().items()
    }


def _find_sources(
    config: DataConfig, progress: download.Progress | None
) -> dict[str, TextSource]:
    """Where the three texts are; UserError where they are not."""
    if config.data_path == "ptb" and not pathlib.Path("ptb").exists():
        folder = download.fetch_ptb(
            config.ptb_url, _cache_dir(config), progress=progress
        )
        return _sources_in_folder(folder, config.token_type)
    path = _find(config.data_path)
    if path.is_dir():
        return _sources_in_folder(path, config.token_type)
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


def _sources_in_folder(folder: pathlib.Path, token_type: str) -> dict[str, TextSource]:
    """ptb.{train,valid,test}.txt or {train,valid,test}.txt of a folder.

    Characters are read from ptb.char.{train,valid,test}.txt first.
    """
    for prefix in _PREFIXES[token_type]:
        paths = {split: folder / f"{prefix}{split}.txt" for split in SPLITS}
        missing = [path.name for path in paths.values() if not path.is_file()]
        if not missing:
            return {
                split: TextSource(
                    str(path),
                    path,
                    part=f"{split} text",
                    is_spaced=prefix == _SPACED_PREFIX,
                )
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
