"""Text -> ids: the vocabulary of a training text, and texts by a vocabulary."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from ptb_lm.config import DataConfig
from ptb_lm.data.byte_tokens import BYTE_NAMES
from ptb_lm.data.text_source import Block, Sources, TextSource
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.unknown import UnknownTokens, cut_off
from ptb_lm.data.vocabulary import UNKNOWN, Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.system.memory import check_fits

RARE = 2  # tokens that a training text has fewer times are rare; see `vocabulary_of`
COUNTED_AT_A_TIME = 2**20  # ids


@dataclasses.dataclass(frozen=True)
class EncodedText:
    """A text, or a piece of one, by a vocabulary.

    Attributes:
      ids: int32 [tokens].
      replaced: how many of them are ``<unk>`` in place of a token that the vocabulary
        lacks.
      left_out: how many such tokens are not in `ids`.
    """

    ids: np.ndarray
    replaced: int = 0
    left_out: int = 0

    def unknown(self, vocabulary: Vocabulary) -> UnknownTokens:
        """How much of the text is unknown, whether it was ``<unk>`` before or not."""
        unknown = count_id(self.ids, vocabulary.unknown_id) + self.left_out
        tokens = len(self.ids) + self.left_out
        return UnknownTokens(unknown / max(tokens, 1), self.left_out)


@dataclasses.dataclass(frozen=True)
class TextFacts:
    """What is known of the texts of a corpus beside their ids.

    Attributes:
      min_count: tokens that the training text has fewer times are ``<unk>``.
      word_length: mean length of its words in characters, line ends left out.
      replaced: split -> how many ids are ``<unk>`` in place of another token.
    """

    min_count: int = 1
    word_length: float = 1.0
    replaced: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class EncodedTexts:
    """The three texts of a corpus as ids.

    Attributes:
      vocabulary: of the training text.
      splits: "train", "valid", "test" -> ids, int32 [tokens].
      facts: what else is known of them.
    """

    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]
    facts: TextFacts


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
    facts = TextFacts()
    if vocabulary is None:
        vocabulary, facts = build_vocabulary(sources, config)
    texts = {
        split: encode_text(source, vocabulary, config)
        for split, source in sources.items()
    }
    replaced = {split: text.replaced for split, text in texts.items()}
    return EncodedTexts(
        vocabulary,
        {split: text.ids for split, text in texts.items()},
        dataclasses.replace(facts, replaced=replaced),
    )


def build_vocabulary(
    sources: Sources, config: DataConfig
) -> tuple[Vocabulary, TextFacts]:
    """Builds the vocabulary of a training text.

    Args:
      sources: the texts; of the others it matters only whether they have a token that
        the training text lacks, see --min_count.
      config: what a token is, and which of them are kept. Bytes are kept all.

    Returns:
      The vocabulary, and what was found out on the way; nothing is replaced yet.

    Raises:
      UserError: a text cannot be read, or the training text has no words but line
        ends, or has one distinct character.
    """
    train, rules, counts = sources["train"], TokenRules.of(config), Counter[str]()
    if rules.are_bytes:
        return Vocabulary(BYTE_NAMES), TextFacts()
    for block in train.blocks():
        counts.update(_tokens(train, block.text, rules))
    return vocabulary_of(
        counts, train, config, lambda: _has_unknown(sources, counts, rules)
    )


def vocabulary_of(
    counts: Counter[str],
    train: TextSource,
    config: DataConfig,
    has_unknown: Callable[[], bool],
) -> tuple[Vocabulary, TextFacts]:
    """Builds the vocabulary of a training text whose tokens were counted.

    Args:
      counts: how often each token is in it.
      train: the text, for an error.
      config: as in `build_vocabulary`, like what is returned and raised.
      has_unknown: whether another text of the corpus has a token that this one lacks.
    """
    rules = TokenRules.of(config)
    words = {t: n for t, n in counts.items() if not rules.is_blank(t)}
    if not words:
        raise no_words(train)
    if len(words) == 1 and config.token_type == "char":
        raise UserError(
            f"{train.name}: the {train.part} has one distinct character; there is"
            " nothing to learn from it"
        )
    min_count = config.min_count
    if not min_count:
        # Rare tokens are left to <unk> where that is needed and there is none
        # otherwise. So texts that could be read without are read as they always were.
        has_one = UNKNOWN in counts or config.max_vocab_size
        min_count = RARE if not has_one and has_unknown() else 1
    length = sum(len(t) * n for t, n in words.items()) / sum(words.values())
    vocabulary = Vocabulary.from_counts(counts, config.max_vocab_size, min_count)
    return vocabulary, TextFacts(min_count, length)


def _has_unknown(sources: Sources, counts: Counter[str], rules: TokenRules) -> bool:
    """Whether the valid or test text has a token that the training text lacks."""
    known = counts.keys()
    return any(
        not known >= set(_tokens(source, block.text, rules))
        for split, source in sources.items()
        if split != "train"
        for block in source.blocks()
    )


def encode_text(
    source: TextSource,
    vocabulary: Vocabulary,
    config: DataConfig,
    unknown: str | None = None,
) -> EncodedText:
    """Encodes a text in memory.

    Args:
      source: the text.
      vocabulary: its tokens.
      config: what a token is.
      unknown: as in `encode_blocks`.

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
    pieces = list(encode_blocks(source, vocabulary, config, unknown))
    return EncodedText(
        np.concatenate([piece.ids for piece in pieces]),
        sum(piece.replaced for piece in pieces),
        sum(piece.left_out for piece in pieces),
    )


def encode_blocks(
    source: TextSource,
    vocabulary: Vocabulary,
    config: DataConfig,
    unknown: str | None = None,
) -> Iterator[EncodedText]:
    """Encodes a text block by block.

    Args:
      source: the text.
      vocabulary: its tokens.
      config: what a token is.
      unknown: --unknown, where the vocabulary is a trained model's; None: it is made
        for this text.

    Raises:
      UserError: the text cannot be read, has no words but line ends, or has a token
        that the vocabulary lacks while there is no ``<unk>`` or --unknown=error; the
        error names the token and the line. Of bytes: there are none.
    """
    rules, empty = TokenRules.of(config), True
    if rules.are_bytes:
        yield from _byte_ids(source)
        return
    for block in source.blocks():
        tokens = _tokens(source, block.text, rules)
        empty = empty and all(map(rules.is_blank, tokens))
        try:
            yield encode_tokens(tokens, vocabulary, unknown)
        except KeyError as error:
            token = error.args[0]
            raise _unknown_token(token, source, block, config, unknown) from error
    if empty:
        raise no_words(source)


def _byte_ids(source: TextSource) -> Iterator[EncodedText]:
    """The bytes of a text as ids; UserError where it has none, or cannot be read."""
    empty = True
    for data in source.byte_blocks():
        empty = False
        yield EncodedText(np.frombuffer(data, np.uint8).astype(np.int32))
    if empty:
        raise UserError(f"{source.name}: the {source.part} is empty")


def encode_tokens(
    tokens: list[str], vocabulary: Vocabulary, unknown: str | None = None
) -> EncodedText:
    """Encodes tokens.

    Args:
      tokens: of a text.
      vocabulary: by which they are encoded.
      unknown: "skip" leaves out the tokens that the vocabulary lacks, "error" refuses
        them, anything else makes ``<unk>`` of them.

    Raises:
      KeyError: one is refused, or there is no ``<unk>``; the exception's argument is
        the token.
    """
    kept = tokens
    if unknown == "skip":
        kept = [token for token in tokens if token in vocabulary]
    ids = vocabulary.encode(kept)
    replaced = count_id(ids, vocabulary.unknown_id) - kept.count(UNKNOWN)
    if replaced and unknown == "error":
        raise KeyError(next(token for token in tokens if token not in vocabulary))
    return EncodedText(ids, replaced, len(tokens) - len(kept))


def stand_in(unknown: str, vocabulary: Vocabulary) -> str:
    """What --unknown comes to where a text is anyone's: no ``<unk>`` is no error.

    Args:
      unknown: the option.
      vocabulary: of the model.

    Returns:
      What `encode_tokens` takes. Where it would read ``<unk>``, and the vocabulary has
      none, it is "skip".
    """
    needs_one = unknown in ("unk", "draw")
    return "skip" if needs_one and vocabulary.unknown_id is None else unknown


def count_id(ids: np.ndarray, wanted: int | None) -> int:
    """How often an id is in a text, int32 [tokens]; None is never."""
    if wanted is None:
        return 0
    # Piece by piece: NumPy makes a bool of all that it compares at a time.
    return sum(
        int(np.count_nonzero(ids[begin : begin + COUNTED_AT_A_TIME] == wanted))
        for begin in range(0, len(ids), COUNTED_AT_A_TIME)
    )


def _tokens(source: TextSource, text: str, rules: TokenRules) -> list[str]:
    """Tokens of some lines of a source."""
    if source.is_spaced:
        return rules.split_spaced(text)
    return rules.split(text, close_lines=True)


def _unknown_token(
    token: str,
    source: TextSource,
    block: Block,
    config: DataConfig,
    unknown: str | None,
) -> UserError:
    """What to raise for a token that the vocabulary lacks, and has no stand-in for."""
    rules, lines = TokenRules.of(config), block.text.split("\n")
    before = next(
        number
        for number, line in enumerate(lines)
        if token in _tokens(source, f"{line}\n", rules)
    )
    kind = {"word": "word", "char": "character", "byte": "byte"}[config.token_type]
    place = (
        f"{block.name}, line {block.line + before}: the {kind} {cut_off(token)!r} is"
        " not in"
    )
    if config.vocabulary_from and unknown is None:
        return UserError(
            f"{place} the vocabulary of {config.vocabulary_from}, which has no"
            f" {UNKNOWN} to stand for it"
        )
    if unknown is None:
        return UserError(
            f"{place} the training text, which has no {UNKNOWN} either; without"
            f" --min_count=1, {kind}s that the training text has once become {UNKNOWN}"
        )
    has_none = "" if unknown == "error" else f", which has no {UNKNOWN}"
    return UserError(
        f"{place} the vocabulary{has_none}; --unknown=skip leaves such {kind}s out"
    )


def no_words(source: TextSource) -> UserError:
    """What to raise for a text of nothing but line ends."""
    return UserError(f"{source.name}: no words in the {source.part}")
