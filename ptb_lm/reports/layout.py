"""Tables as Markdown, and as text that fits a terminal."""

import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

# A cell for each title; titles that a row lacks are empty there.
Row = Mapping[str, str]

_GAP = "  "
LONGEST_NAME = 24  # characters, in a terminal and in a legend
# What Markdown or GitHub may read as markup. An underscore inside a word is not.
_MARKUP = re.compile(r"[<>|*\\`$#~&\[\]]|(?<!\w)_|_(?!\w)")


def columns(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def padded(text: str, width: int) -> str:
    """A text with blanks after it, up to so many columns of a terminal."""
    return text + " " * (width - columns(text))


def printable(text: str) -> str:
    """A text without characters that do something else than to be seen."""
    return text if text.isprintable() and not text.isspace() else ascii(text)


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is: as code if need be."""
    shown = printable(text)
    if not _MARKUP.search(shown):
        return shown
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{shown}{space}{fence}"


def markdown_cell(text: str) -> str:
    """The same in a table, where a bar would end the cell."""
    return markdown_text(text).replace("|", "\\|")


def used_titles(titles: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The titles of columns that are not empty."""
    return [title for title in titles if any(row.get(title) for row in rows)]


def markdown_table(titles: Sequence[str], rows: Sequence[Row]) -> str:
    """A table with all columns that are not empty.

    Args:
      titles: of the columns, in order. The cells of the first are names, and those
        of the others numbers.
      rows: the rows.
    """
    first, *others = used_titles(titles, rows)
    head = " | ".join(
        markdown_cell(title.replace("\n", " ")) for title in (first, *others)
    )
    lines = [f"| {head} |", "|---|" + "--:|" * len(others)]
    for row in rows:
        cells = [markdown_cell(row[first]), *(row.get(title, "") for title in others)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def text_table(
    titles: Sequence[str], rows: Sequence[Row], width: int, importance: Sequence[str]
) -> tuple[str, list[str]]:
    """A table of at most so many characters a line.

    Args:
      titles: as of `markdown_table`; a line feed in a title is kept.
      rows: the rows.
      width: of the terminal, in characters.
      importance: the titles, those to keep longest at the front.

    Returns:
      The table, and the titles of columns that did not fit.
    """
    first = titles[0]
    shown = [{**row, first: shortened(printable(row[first]))} for row in rows]
    used = used_titles(titles, shown)
    kept: list[str] = []
    for title in sorted(used, key=importance.index):
        columns = [each for each in used if each in (*kept, title)]
        if not kept or sum(_widths(columns, shown)) <= width:
            kept = columns
    widths = _widths(kept, shown)
    depth = max(title.count("\n") for title in kept)
    heads = [
        # A short title stands on the last line.
        ("\n" * (depth - title.count("\n")) + title).split("\n")
        for title in kept
    ]
    cells = [*zip(*heads, strict=True)]
    cells += [tuple(row.get(title, "") for title in kept) for row in shown]
    lines = [_aligned(row, widths).rstrip() for row in cells]
    return "\n".join(lines) + "\n", [title for title in used if title not in kept]


def paragraph(text: str, width: int | None) -> str:
    """A paragraph, wrapped where there is a width."""
    if width is None:
        return text + "\n"
    return textwrap.fill(text, width, break_on_hyphens=False) + "\n"


def _widths(titles: Sequence[str], rows: Sequence[Row]) -> list[int]:
    """Characters of each column, with the gap before it."""
    return [
        max(map(columns, [*title.split("\n"), *(row.get(title, "") for row in rows)]))
        + len(_GAP) * (index > 0)
        for index, title in enumerate(titles)
    ]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line: the name to the left, numbers to the right."""
    name, *numbers = cells
    rest = zip(numbers, widths[1:], strict=True)
    return padded(name, widths[0]) + "".join(text.rjust(size) for text, size in rest)


def shortened(name: str) -> str:
    """A name without its middle where it is too long."""
    if columns(name) <= LONGEST_NAME:
        return name
    half, begin, end = LONGEST_NAME // 2, name, name
    while columns(begin) >= half:
        begin = begin[:-1]
    while columns(end) > half:
        end = end[1:]
    return f"{begin}…{end}"
