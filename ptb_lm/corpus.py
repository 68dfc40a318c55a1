"""Text files -> tokens -> ids: the corpora that ``--data_path`` can name."""

import dataclasses
import hashlib
import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from ptb_lm import download, files, grammar
from ptb_lm.config import DataConfig
from ptb_lm.errors import UserError
from ptb_lm.vocabulary import END_OF_SENTENCE, UNKNOWN, Vocabulary

SPLITS = ("train", "valid", "test")


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
        """Fingerprint of the vocabulary and the training text."""
        content = hashlib.sha256("\0".join(self.vocabulary.tokens).encode())
        content.update(self.splits["train"])
        return content.hexdigest()


@dataclasses.dataclass(frozen=True)
class _Text:
    """A piece of raw text and where it came from, for error messages."""

    text: str
    source: str
    first_line: int = 1


def corpus_name(data_path: str) -> str:
    """Short name of the corpus that a ``--data_path`` stands for."""
    if not data_path:
        return "builtin"
    path = pathlib.Path(os.path.realpath(files.expand_home(data_path)))
    return path.name if os.path.isdir(path) else path.stem


def load_corpus(config: DataConfig, vocabulary: Vocabulary | None = None) -> Corpus:
    """Reads and encodes the corpus that a configuration names.

    Args:
      config: where the text is.
      vocabulary: of a trained model; None: that of the training text.

    Raises:
      UserError: a file is missing, empty or not UTF-8, or the valid or test
        text has a word that the training text lacks where there is no `<unk>`.
    """
    texts, floor = _read_texts(config)
    tokens = {split: split_words(text.text) for split, text in texts.items()}
    for split, words in tokens.items():
        if not _has_words(words):
            raise UserError(f"{texts[split].source}: no words in the {split} text")
    vocabulary = vocabulary or Vocabulary.from_tokens(
        tokens["train"], config.max_vocab_size
    )
    splits = {
        split: encode_words(
            tokens[split], vocabulary, texts[split].source, texts[split].first_line
        )
        for split in SPLITS
    }
    return Corpus(corpus_name(config.data_path), splits, vocabulary, floor)


def split_words(text: str) -> list[str]:
    r"""Words of a text, every line closed by ``<eos>``, the last one included.

    Lines end in ``\n`` or ``\r\n``; words are separated by white space, of which
    the carriage return is part.
    """
    if text and not text.endswith("\n"):
        text += "\n"
    return text.replace("\n", f" {END_OF_SENTENCE} ").split()


def _has_words(words: Sequence[str]) -> bool:
    """Whether there is more than line ends."""
    return any(word != END_OF_SENTENCE for word in words)


def encode_words(
    words: Sequence[str], vocabulary: Vocabulary, source: str, first_line: int = 1
) -> np.ndarray:
    """Ids of a text, int32 [words].

    Raises:
      UserError: a word is not in the vocabulary, which has no ``<unk>``; the
        message names the word and the line.
    """
    try:
        return vocabulary.encode(words)
    except KeyError as error:
        word = error.args[0]
        line = first_line + words[: words.index(word)].count(END_OF_SENTENCE)
        raise UserError(
            f"{source}, line {line}: the word {word!r} is not in the training text,"
            f" which has no {UNKNOWN} either; --max_vocab_size=N keeps the N most"
            f" frequent words and maps all others to {UNKNOWN}"
        ) from error


def encode_file(path: pathlib.Path, vocabulary: Vocabulary) -> np.ndarray:
    """Ids of a text file, int32 [tokens].

    Raises:
      UserError: the file cannot be read, has no word, or has one that the
        vocabulary lacks.
    """
    words = split_words(files.read_text(path))
    if not _has_words(words):
        raise UserError(f"{path}: no words in the text")
    return encode_words(words, vocabulary, str(path))


def _read_texts(config: DataConfig) -> tuple[dict[str, _Text], float | None]:
    """The three texts, and the floor perplexity where it is known."""
    if not config.data_path:
        texts = grammar.builtin_corpus()
        floor = math.exp(grammar.ENGLISH.entropy_rate())
        return {s: _Text(texts[s], f"built-in {s} text") for s in SPLITS}, floor
    if config.data_path == "ptb" and not pathlib.Path("ptb").exists():
        cache = pathlib.Path(config.cache_dir) if config.cache_dir else None
        return _read_folder(download.fetch_ptb(config.ptb_url, cache)), None
    path = _find(config.data_path)
    if path.is_dir():
        return _read_folder(path), None
    if path.is_file():
        return _split_file(path), None
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


def _read_folder(folder: pathlib.Path) -> dict[str, _Text]:
    """Reads ptb.{train,valid,test}.txt or {train,valid,test}.txt of a folder."""
    for prefix in ("ptb.", ""):
        paths = {split: folder / f"{prefix}{split}.txt" for split in SPLITS}
        missing = [path.name for path in paths.values() if not path.is_file()]
        if not missing:
            return {s: _Text(files.read_text(p), str(p)) for s, p in paths.items()}
        if len(missing) < len(SPLITS):
            raise UserError(f"--data_path={folder}: {', '.join(missing)} is missing")
    raise UserError(
        f"--data_path={folder}: has neither ptb.{{train,valid,test}}.txt nor"
        " {train,valid,test}.txt"
    )


def _split_file(path: pathlib.Path) -> dict[str, _Text]:
    """Splits one file's lines: the first 90 % to train, 5 % to valid, 5 % to test."""
    text = files.read_text(path)
    if not text.strip():
        raise UserError(f"{path}: no words in the file")
    lines = text.removesuffix("\n").split("\n")
    valid_start, test_start = len(lines) * 90 // 100, len(lines) * 95 // 100
    if not 0 < valid_start < test_start < len(lines):
        raise UserError(
            f"{path}: {len(lines)} lines are too few to split 90/5/5 into train,"
            " valid and test; give a folder with three files"
        )
    bounds = {
        "train": (0, valid_start),
        "valid": (valid_start, test_start),
        "test": (test_start, len(lines)),
    }
    return {
        split: _Text("\n".join(lines[start:end]) + "\n", str(path), start + 1)
        for split, (start, end) in bounds.items()
    }
