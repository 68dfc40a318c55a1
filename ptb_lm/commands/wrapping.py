"""Breaks the lines of a text on a terminal between words."""

import unicodedata

from ptb_lm.reports.layout import columns


class LineBreaker:
    """Breaks lines that are too long, while the text comes piece by piece.

    Where a line must be broken, the line end takes the place of the blanks between two
    words. A line may also be broken beside a wide character, as those of Chinese are. A
    word that is longer than a line is left to the terminal.
    """

    def __init__(self, width: int):
        """Begins at the start of a line of so many columns."""
        self._width = width
        self._column = 0  # after all that has been given out
        self._blanks, self._word = "", ""  # held back

    def add(self, text: str) -> str:
        """What is to be shown now; a word whose end has not come is held back."""
        pieces = []
        for character in text:
            if character == "\n":
                pieces += [self.end(), "\n"]
                self._column, self._blanks = 0, ""
            elif character.isspace():
                pieces.append(self.end())
                self._blanks += character
            elif unicodedata.east_asian_width(character) in "WF":
                pieces.append(self.end())
                self._word = character
            else:
                self._word += character
        return "".join(pieces)

    def end(self) -> str:
        """The word that is held back."""
        if not self._word:
            return ""
        gap, word = self._blanks, self._word
        self._blanks = self._word = ""
        if self._column > 0 and self._column + columns(gap + word) > self._width:
            gap, self._column = "\n", columns(word)
        else:
            self._column += columns(gap + word)
        return gap + word
