"""The corpora that ``--data_path`` can name, as ids."""

import dataclasses
import functools
import hashlib
import math
import os
import pathlib

import numpy as np

from ptb_lm.config import DataConfig
from ptb_lm.data import english
from ptb_lm.data.cache import encode_once
from ptb_lm.data.download import DownloadProgress
from ptb_lm.data.encoding import (
    COUNTED_AT_A_TIME,
    EncodedText,
    TextFacts,
    count_id,
    encode_text,
)
from ptb_lm.data.sources import find_sources, is_pattern, listed
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.system.progress import Update


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus as ids.

    Attributes:
      name: short name of the corpus, for run folders and tables.
      splits: "train", "valid", "test" -> ids [tokens]: int32, or uint16 where the
        cache keeps them so.
      vocabulary: of the training text.
      floor_perplexity: the lowest perplexity that any model can reach in the
        long run, where the source of the text is known; else None.
      facts: what else is known of the texts.
    """

    name: str
    splits: dict[str, np.ndarray]
    vocabulary: Vocabulary
    floor_perplexity: float | None = None
    facts: TextFacts = dataclasses.field(default_factory=TextFacts)

    def digest(self) -> str:
        """Fingerprint of the vocabulary and the three texts."""
        content = hashlib.sha256("\0".join(self.vocabulary.tokens).encode())
        for split, ids in self.splits.items():
            content.update(f"{split} {len(ids)}".encode())
            _add(content, ids)
        return content.hexdigest()

    @functools.cached_property
    def split_digests(self) -> dict[str, str]:
        """Split -> fingerprint of its ids, as `digest_of` gives it."""
        return {split: digest_of(ids) for split, ids in self.splits.items()}

    @functools.cached_property
    def unknown_shares(self) -> dict[str, float]:
        """Split -> share of its tokens that are ``<unk>``."""
        unknown_id = self.vocabulary.unknown_id
        return {
            split: count_id(ids, unknown_id) / len(ids)
            for split, ids in self.splits.items()
        }

    def line_end_id(self, config: DataConfig) -> int | None:
        """Id of the token of a line end; None where the vocabulary has none."""
        token, tokens = TokenRules.of(config).line_end, self.vocabulary.tokens
        return tokens.index(token) if token in self.vocabulary else None

    def token_counts(self) -> np.ndarray:
        """How often each token is in the training text, int64 [vocabulary]."""
        ids, counts = self.splits["train"], np.zeros(len(self.vocabulary), np.int64)
        # Piece by piece: NumPy makes int64 of all that it counts at a time.
        for begin in range(0, len(ids), COUNTED_AT_A_TIME):
            piece = ids[begin : begin + COUNTED_AT_A_TIME]
            counts += np.bincount(piece, minlength=len(counts))
        return counts


def digest_of(ids: np.ndarray) -> str:
    """Fingerprint of a text [tokens], the same whatever the type of its ids."""
    content = hashlib.sha256()
    _add(content, ids)
    return content.hexdigest()


def _add(content: "hashlib._Hash", ids: np.ndarray) -> None:
    """Adds ids to a fingerprint as int32, piece by piece."""
    for begin in range(0, len(ids), COUNTED_AT_A_TIME):
        piece = ids[begin : begin + COUNTED_AT_A_TIME]
        content.update(np.ascontiguousarray(piece, np.int32).data)


def corpus_name(data_path: str) -> str:
    """Short name of the corpus that a ``--data_path`` stands for."""
    if not data_path:
        return "builtin"
    first, *others = listed(data_path)
    path = pathlib.Path(first)
    while is_pattern(str(path)):  # called like its folder, whatever is there by now
        path = path.parent
    path = pathlib.Path(os.path.realpath(path))
    name = path.name if os.path.isdir(path) else path.stem
    return f"{name}-and-{len(others)}-more" if others else name


def load_corpus(
    config: DataConfig,
    progress: DownloadProgress | None = None,
    vocabulary: Vocabulary | None = None,
    update: Update = lambda *_: None,
) -> Corpus:
    """Reads and encodes the corpus that a configuration names.

    Args:
      config: where the text is, and what a token is.
      progress: of a download, as `download.fetch_ptb` takes it.
      vocabulary: of a trained model; None: that of the training text.
      update: as `encode_once` takes it.

    Raises:
      UserError: a file is missing, empty or not UTF-8; or, with --min_count=1, the
        valid or test text has a token that the training text lacks where there is
        no `<unk>`.
    """
    sources = find_sources(config, progress)
    encoded = encode_once(sources, config, vocabulary, update)
    splits = {split: _used(ids, split, config) for split, ids in encoded.splits.items()}
    name = corpus_name(config.data_path)
    floor = _floor_perplexity(config)
    return Corpus(name, splits, encoded.vocabulary, floor, encoded.facts)


def encode_split(
    config: DataConfig,
    split: str,
    vocabulary: Vocabulary,
    unknown: str,
    progress: DownloadProgress | None = None,
) -> EncodedText:
    """Encodes one part of a corpus by a trained model's vocabulary.

    Args:
      config: where the text is, and what a token is.
      split: "train", "valid" or "test".
      vocabulary: the model's.
      unknown: --unknown.
      progress: of a download, as `download.fetch_ptb` takes it.

    Raises:
      UserError: a file is missing, or as `encode_text`.
    """
    source = find_sources(config, progress)[split]
    text = encode_text(source, vocabulary, config, unknown)
    return dataclasses.replace(text, ids=_used(text.ids, split, config))


def _used(ids: np.ndarray, split: str, config: DataConfig) -> np.ndarray:
    """The part of a text that --max_tokens leaves."""
    return ids[: config.max_tokens or None] if split == "train" else ids


def _floor_perplexity(config: DataConfig) -> float | None:
    """The lowest perplexity that any model can reach; None where it is not known.

    Of the built-in corpus it is known as long as its tokens are the grammar's.
    """
    chosen = config.data_path or config.max_vocab_size or config.vocabulary_from
    is_grammars = not chosen and config.min_count <= 1
    if is_grammars and TokenRules.of(config) == TokenRules("word", "none"):
        return math.exp(english.ENGLISH.entropy_rate())
    return None
