"""Tokens and their ids, built from the training text alone."""

import collections
import functools
import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from ptb_lm.errors import UserError
from ptb_lm.system import files

END_OF_SENTENCE = "<eos>"
UNKNOWN = "<unk>"
LINE_ENDS = (END_OF_SENTENCE, "\n")  # of words, of characters


class _Ids(dict[str, int]):
    """Token -> id; what is missing is ``<unk>``, or a KeyError without one."""

    def __missing__(self, token: str) -> int:
        if UNKNOWN not in self:
            raise KeyError(token)
        return self[UNKNOWN]


class Vocabulary:
    """A bijection between tokens and the ids 0 .. len(vocabulary) - 1."""

    def __init__(self, tokens: Sequence[str]):
        self.tokens = tuple(tokens)
        self._ids = _Ids(zip(self.tokens, range(len(self.tokens)), strict=True))
        if len(self._ids) != len(self.tokens):
            raise UserError("the vocabulary lists a token twice")
        if not self.tokens:
            raise UserError("the vocabulary has no tokens")

    @classmethod
    def from_tokens(
        cls, tokens: Iterable[str], max_size: int = 0, min_count: int = 1
    ) -> "Vocabulary":
        """Builds the vocabulary of a training text; see `from_counts`."""
        return cls.from_counts(collections.Counter(tokens), max_size, min_count)

    @classmethod
    def from_counts(
        cls, counts: collections.Counter[str], max_size: int = 0, min_count: int = 1
    ) -> "Vocabulary":
        """Builds the vocabulary of a training text.

        Args:
          counts: how often each token is in the text.
          max_size: size of the vocabulary: ``<unk>``, whether or not the text has it,
            and the most frequent other tokens. 0 keeps every token.
          min_count: tokens that are in the text fewer times than this are left to
            ``<unk>``, which the vocabulary then has; line ends are not. 1 keeps every
            token.

        Returns:
          Ids sorted by (-count, token), as in the PTB tutorial's reader.
        """
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        if max_size or min_count > 1:
            kept = [
                token
                for token in ranked
                if counts[token] >= min_count or token in LINE_ENDS
                if token != UNKNOWN
            ]
            if max_size:
                kept = kept[: max_size - 1]
            dropped = counts.total() - sum(counts[token] for token in kept)
            left = {token: counts[token] for token in kept} | {UNKNOWN: dropped}
            ranked = sorted(left, key=lambda token: (-left[token], token))
        return cls(ranked)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        """Whether it has a token; one that it lacks may be read as ``<unk>``."""
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    @functools.cached_property
    def unknown_id(self) -> int | None:
        """Id of ``<unk>``; None where the vocabulary has none."""
        return self._ids.get(UNKNOWN)

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """Ids of the tokens, int32 [len(tokens)].

        A token that the vocabulary lacks becomes ``<unk>``.

        Raises:
          KeyError: a token is unknown and the vocabulary has no ``<unk>``; the
            exception's argument is the token.
        """
        ids = map(self._ids.__getitem__, tokens)
        return np.fromiter(ids, dtype=np.int32, count=len(tokens))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of the ids."""
        return [self.tokens[index] for index in ids]

    def save(self, path: pathlib.Path) -> None:
        """Writes the tokens in id order as JSON, atomically."""
        files.write_json(path, self.tokens)

    @classmethod
    def load(cls, path: pathlib.Path) -> "Vocabulary":
        """Reads what `save` wrote.

        Raises:
          UserError: the file is missing or is not a JSON list of strings that
            differ.
        """
        try:
            tokens = json.loads(files.read_text(path))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not a readable vocabulary: {error}") from error
        if not isinstance(tokens, list) or not all(
            isinstance(token, str) for token in tokens
        ):
            raise UserError(f"{path}: not a vocabulary: expected a list of strings")
        try:
            "".join(tokens).encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair, as \\ud800
            raise UserError(f"{path}: not a vocabulary: {error.reason}") from error
        try:
            return cls(tokens)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
