"""How a text becomes tokens, and tokens a text: the rule in Python.

`ptb_lm.inference.graph_tokenizer` is the same rule in a TensorFlow graph, which an
exported model takes along; tests/inference/test_graph_tokenizer.py holds one to the
other. No other module splits a text or joins tokens.
"""

import codecs
import dataclasses
import re
from collections.abc import Iterable

from ptb_lm.config import DataConfig
from ptb_lm.data.byte_tokens import bytes_of, names_of, to_bytes
from ptb_lm.data.vocabulary import END_OF_SENTENCE

_NOT_LETTERS = re.compile("[^A-Za-z]+")
# Line ends and the space in a text whose characters stand apart.
_APART = {"_": " ", END_OF_SENTENCE: "\n"}


@dataclasses.dataclass(frozen=True)
class TokenRules:
    r"""The rule for one kind of token and one way to normalize.

    Attributes:
      token_type: "word": white space separates the tokens, and every line end is the
        token ``<eos>``. "char": every character is a token, the space and the line
        feed too. "byte": every byte of the UTF-8 is a token, and nothing is changed.
      normalize: change to a text before it is split. "none"; or "letters": the letters
        A to Z become lower-case, and everything between two of them, line ends too,
        becomes one space.

    Lines end in ``\n`` or ``\r\n``; of bytes, in ``\n``, and ``\r`` is a token.
    """

    token_type: str = "word"
    normalize: str = "none"

    def __post_init__(self) -> None:
        if self.token_type not in ("word", "char", "byte"):
            raise ValueError(f"token_type is {self.token_type!r}: word, char or byte")
        if self.normalize not in ("none", "letters"):
            raise ValueError(f"normalize is {self.normalize!r}, not none or letters")
        if self.are_bytes and self.normalize != "none":
            raise ValueError("bytes are not normalized")

    @classmethod
    def of(cls, config: DataConfig) -> "TokenRules":
        """The rule that --token_type and --normalize name."""
        return cls(config.token_type, config.normalize)

    @property
    def are_bytes(self) -> bool:
        """Whether a token is a byte."""
        return self.token_type == "byte"

    @property
    def line_end(self) -> str | None:
        """The token of a line end; None where normalizing leaves no line end."""
        if self.normalize == "letters":
            return None
        return END_OF_SENTENCE if self.token_type == "word" else "\n"

    @property
    def separator(self) -> str:
        """What stands between two tokens of a line."""
        return " " if self.token_type == "word" else ""

    def split(self, text: str, close_lines: bool) -> list[str]:
        """Tokens of a text.

        Lines of a corpus may be split block by block: the tokens are the same.

        Args:
          text: any text; for "letters" its first letter is its first token.
          close_lines: whether a text of words that does not end in a line end gets
            one, as the last line of a corpus does. A prompt is left open.
        """
        if self.are_bytes:
            return names_of(to_bytes(text))
        text = self._normalized(text)
        if self.token_type == "char":
            return list(text)
        if self.line_end:
            if close_lines and text and not text.endswith("\n"):
                text += "\n"
            text = text.replace("\n", f" {self.line_end} ")
        return text.split()

    def lines(self, text: str) -> list[str]:
        """The lines of a text, without their ends."""
        return (text if self.are_bytes else text.replace("\r\n", "\n")).split("\n")

    def split_spaced(self, text: str) -> list[str]:
        """Tokens of whole lines whose characters stand apart.

        White space separates characters, and ``_`` stands for a space, as in
        Mikolov's character version of the Penn Treebank.
        """
        words = TokenRules("word").split(text, close_lines=True)
        characters = [_APART.get(word, word) for word in words]
        if self.normalize == "none":
            return characters
        return self.split("".join(characters), close_lines=True)

    def is_blank(self, token: str) -> bool:
        """Whether a token is a line end or white space."""
        return token == self.line_end or token.isspace()

    def join(self, tokens: Iterable[str]) -> str:
        """The text of tokens, as a person writes it; a line end ends a line.

        Bytes that are not UTF-8 become U+FFFD.
        """
        joiner = TokenJoiner(self)
        return joiner.add(tokens) + joiner.end()

    def _normalized(self, text: str) -> str:
        r"""The text with line ends ``\n``; see `normalize`.

        "letters" leaves out what is before the first letter, so that one space
        separates two blocks of lines.
        """
        if self.normalize == "letters":
            return _NOT_LETTERS.sub(" ", text).lstrip(" ").lower()
        return text.replace("\r\n", "\n")


class TokenJoiner:
    """Writes a text from tokens that come one after the other.

    Attributes:
      at_line_start: whether the text so far is empty or ends in a line end.
    """

    def __init__(self, rules: TokenRules):
        self._line_end, self._separator = rules.line_end, rules.separator
        self._decoder: codecs.IncrementalDecoder | None = None
        if rules.are_bytes:
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.at_line_start = True

    def add(self, tokens: Iterable[str]) -> str:
        """What these tokens add to the text.

        The first bytes of a character are held back until its last is there. Bytes of
        no character become U+FFFD.
        """
        if self._decoder:
            return self._decoded(bytes_of(tokens), is_end=False)
        pieces = []
        for token in tokens:
            is_line_end = token == self._line_end
            if is_line_end:
                pieces.append("\n")
            else:
                pieces.append(token if self.at_line_start else self._separator + token)
            self.at_line_start = is_line_end
        return "".join(pieces)

    def end(self) -> str:
        """What is left to write when no token follows: U+FFFD for part of a character.

        Without bytes, it is nothing.
        """
        return self._decoded(b"", is_end=True) if self._decoder else ""

    def _decoded(self, data: bytes, is_end: bool) -> str:
        """The characters that are whole, or that cannot become so, with these bytes."""
        assert self._decoder
        text = self._decoder.decode(data, is_end)
        if text:
            self.at_line_start = text.endswith("\n")
        return text
