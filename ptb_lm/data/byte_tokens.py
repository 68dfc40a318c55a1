"""Bytes as tokens: their names, and their way to texts and back.

The id of a token is its byte, so that there are 256 tokens and none is unknown. A byte
of ASCII is called by its character. Another is called like ``<0xE4>``, as the byte
tokens of SentencePiece are (Kudo and Richardson 2018), because by itself it is no
character.
"""

from collections.abc import Iterable

BYTE_NAMES = tuple(chr(b) if b < 0x80 else f"<0x{b:02X}>" for b in range(256))
_BYTES = {name: byte for byte, name in enumerate(BYTE_NAMES)}
# A byte that is no part of UTF-8 is half of a surrogate pair in a string (PEP 383).
LENIENT = "surrogateescape"


def to_bytes(text: str) -> bytes:
    """The UTF-8 of a text; inverse of `to_text`, whatever the bytes were."""
    return text.encode("utf-8", LENIENT)


def to_text(data: bytes) -> str:
    """A text that holds any bytes; where they are not UTF-8, it cannot be shown."""
    return data.decode("utf-8", LENIENT)


def names_of(data: bytes) -> list[str]:
    """The tokens of bytes."""
    return [BYTE_NAMES[byte] for byte in data]


def bytes_of(names: Iterable[str]) -> bytes:
    """Inverse of `names_of`; KeyError where a name is of no byte."""
    return bytes(_BYTES[name] for name in names)
