"""Text -> ids: the vocabulary of a training text, and texts by a vocabulary."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

from ptb_lm.config import DataConfig
from ptb_lm.data.text_source import Sources, TextSource
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import UNKNOWN, Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.system.memory import check_fits


@dataclasses.dataclass(frozen=True)
class EncodedTexts:
    """The three texts of a corpus as ids.

    Attributes:
      vocabulary: of the training text.
      splits: "train", "valid", "test" -> ids, int32 [tokens].
    """

    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]


def encode_sources(
    sources: Sources, config: DataConfig, vocabulary: Vocabulary | None = None
) -> EncodedTexts:
    """Encodes the texts in memory.

    Args:
      sources: the texts.
      config: what a token is.
      vocabulary: None: it is built of the training text.

    Raises:
      UserError: as `build_vocabulary` and `encode_text`.
    """
    if vocabulary is None:
        vocabulary = build_vocabulary(sources["train"], config)
    splits = {
        split: encode_text(source, vocabulary, config)
        for split, source in sources.items()
    }
    return EncodedTexts(vocabulary, splits)


def build_vocabulary(train: TextSource, config: DataConfig) -> Vocabulary:
    """Builds the vocabulary of a training text.

    Raises:
      UserError: the text cannot be read, has no words but line ends, or has one
        distinct character.
    """
    rules, counts = TokenRules.of(config), Counter[str]()
    for _, text in train.blocks():
        counts.update(_tokens(train, text, rules))
    distinct = sum(not rules.is_blank(token) for token in counts)
    if not distinct:
        raise _no_words(train)
    if distinct == 1 and config.token_type == "char":
        raise UserError(
            f"{train.name}: the {train.part} has one distinct character; there is"
            " nothing to learn from it"
        )
    return Vocabulary.from_counts(counts, config.max_vocab_size)


def encode_text(
    source: TextSource, vocabulary: Vocabulary, config: DataConfig
) -> np.ndarray:
    """Ids of a text in memory, int32 [tokens].

    Raises:
      UserError: the ids do not fit in memory, or as `encode_blocks`.
    """
    # 4 bytes a token, and twice that for a moment: never less than the text itself
    # in characters, and about as much in words.
    check_fits(
        source.num_bytes(),
        f"{source.name}, encoded,",
        "give --cache_dir a folder with room, from where it is read piece by piece",
    )
    return np.concatenate(list(encode_blocks(source, vocabulary, config)))


def encode_blocks(
    source: TextSource, vocabulary: Vocabulary, config: DataConfig
) -> Iterator[np.ndarray]:
    """Yields the ids of a text, int32 [tokens], block by block.

    Raises:
      UserError: the text cannot be read, has no words but line ends, or has a word
        that the vocabulary lacks while it has no ``<unk>``; the error names the
        word and the line.
    """
    rules, empty = TokenRules.of(config), True
    for line, text in source.blocks():
        tokens = _tokens(source, text, rules)
        empty = empty and all(map(rules.is_blank, tokens))
        try:
            yield vocabulary.encode(tokens)
        except KeyError as error:
            token = error.args[0]
            line += _lines_before(token, source, text, rules)
            raise UserError(
                f"{source.name}, line {line}: the {config.token_type} {token!r} is not"
                f" in the training text, which has no {UNKNOWN} either;"
                " --max_vocab_size=N keeps the N most frequent tokens and maps all"
                f" others to {UNKNOWN}"
            ) from error
    if empty:
        raise _no_words(source)


def _tokens(source: TextSource, text: str, rules: TokenRules) -> list[str]:
    """Tokens of some lines of a source."""
    if source.is_spaced:
        return rules.split_spaced(text)
    return rules.split(text, close_lines=True)


def _lines_before(token: str, source: TextSource, text: str, rules: TokenRules) -> int:
    """Number of lines of a text before the first that has a token."""
    lines = text.split("\n")
    return next(
        number
        for number, line in enumerate(lines)
        if token in _tokens(source, f"{line}\n", rules)
    )


def _no_words(source: TextSource) -> UserError:
    """What to raise for a text of nothing but line ends."""
    return UserError(f"{source.name}: no words in the {source.part}")
