r"""Columns separated by tabs: what the commands on lists of texts read and write.

There is one line for each entry. Nothing is quoted, as in the files of speech tools; a
tab, a line end or a backslash within a field is written as ``\t``, ``\n``, ``\\``.
"""

from collections.abc import Iterable
from typing import NamedTuple

from ptb_lm.errors import UserError

MISSING = "NA"  # for what has no value, as R and pandas read it
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Line(NamedTuple):
    """A line of a list.

    Attributes:
      number: in its text, from 1.
      fields: of its columns.
    """

    number: int
    fields: list[str]


def read_columns(text: str, name: str, columns: range, wanted: str) -> list[Line]:
    """The lines of a list that are not empty.

    Args:
      text: the list.
      name: what to call it in an error.
      columns: the numbers of columns that are allowed.
      wanted: the columns, for an error.

    Raises:
      UserError: a line has too few columns or too many, or there is no line.
    """
    found = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) not in columns:
            raise UserError(
                f"{name}, line {number}: {len(fields)} column{'s' * (len(fields) > 1)};"
                f" {wanted} are expected, with tabs between them"
            )
        found.append(Line(number, fields))
    if not found:
        raise UserError(f"{name}: no lines; {wanted} are expected")
    return found


def to_line(fields: Iterable[object]) -> str:
    """A line of columns, without its end; None is ``NA``, a float has 9 digits."""
    return "\t".join(map(_shown, fields))


def escaped(text: str) -> str:
    """A text in one line, without tabs."""
    return text.translate(_ESCAPES)


def _shown(value: object) -> str:
    """A field as it is written."""
    if value is None:
        return MISSING
    return f"{value:.9g}" if isinstance(value, float) else escaped(str(value))
