"""The text that is being written, and how to take a change back."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Draft:
    """A text, what of it a model wrote, and the text before the last change.

    Attributes:
      text: the text.
      written: the parts that a model wrote, (begin, end) in characters.
      before: the draft before the last change; None where there was none.
      is_typed: whether the last change was typed. What is typed in a row is one change.
    """

    text: str = ""
    written: tuple[tuple[int, int], ...] = ()
    before: "Draft | None" = dataclasses.field(default=None, repr=False, compare=False)
    is_typed: bool = False

    def typed(self, text: str) -> "Draft":
        """The draft after a person changed its text."""
        if text == self.text:
            return self
        pairs = enumerate(zip(text, self.text, strict=False))
        shorter = min(len(text), len(self.text))
        unchanged = next((at for at, (new, old) in pairs if new != old), shorter)
        written = tuple(
            (begin, min(end, unchanged))
            for begin, end in self.written
            if begin < unchanged
        )
        return Draft(text, written, self.before if self.is_typed else self, True)

    def chosen(self, text: str) -> "Draft":
        """The draft after a token was chosen, which made this text of it."""
        return dataclasses.replace(self.typed(text), before=self, is_typed=False)

    def continued(self, continuation: str) -> "Draft":
        """The draft after a model continued it."""
        end = len(self.text) + len(continuation)
        written = (*self.written, (len(self.text), end))
        return Draft(self.text + continuation, written, self)

    def undone(self) -> "Draft":
        """The draft without the last change."""
        return self.before or self
