"""The runs, and what they do with the drafts of those who play."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from playground.draft import Draft
from playground.view import Player, View
from ptb_lm.errors import UserError

NAMED = 5  # unknown tokens that a message names
WHOLE = ("num_tokens", "top_k", "seed")  # settings that are whole numbers


@dataclasses.dataclass(frozen=True)
class Session:
    """What one open page knows.

    Attributes:
      draft: its text.
      views: what each run says of it.
    """

    draft: Draft
    views: tuple[View, ...]


class Table:
    """The runs, and what they do with the drafts of those who play.

    Each method but the last two takes what a person did and the session before it, and
    returns the session after it. `text` is what the person sees at that moment.
    """

    def __init__(self, players: Sequence[Player], text: str = ""):
        """Reads the text with which every page opens."""
        self.players = tuple(players)
        self.opening = self._read(Draft(text), None)

    def typed(self, session: Session, text: str) -> Session:
        """A person changed the text."""
        return self._read(session.draft.typed(text), session)

    def chosen(self, session: Session, text: str, run: int, token: str) -> Session:
        """A person chose a token that run number `run` offered."""
        draft = session.draft.typed(text)
        text = self.players[run].with_choice(text, token)
        return self._read(draft.chosen(text), session)

    def written(
        self, session: Session, text: str, run: int, settings: dict[str, Any]
    ) -> Session:
        """Run number `run` continued the text.

        Raises:
          UserError: a setting is not allowed, or there is nothing to begin from.
        """
        for name, value in settings.items():
            if value is None or (name in WHOLE and value != int(value)):
                kind = "a whole number" if name in WHOLE else "a number"
                raise UserError(f"{name.replace('_', ' ')}: {kind} is needed")
        settings = settings | {name: int(settings[name]) for name in WHOLE}
        continuation = self.players[run].continuation(text, settings)
        return self._read(session.draft.typed(text).continued(continuation), session)

    def undone(self, session: Session, text: str) -> Session:
        """A person took the last change back."""
        return self._read(session.draft.typed(text).undone(), session)

    def _read(self, draft: Draft, session: Session | None) -> Session:
        """What the runs say of a draft."""
        previous = session.views if session else (None,) * len(self.players)
        pairs = zip(self.players, previous, strict=True)
        return Session(draft, tuple(p.view(draft, view) for p, view in pairs))

    def message(self, session: Session) -> str:
        """Which tokens are unknown, in one line; empty if all are known."""
        said = list(map(unknown_message, self.players, session.views))
        if len(set(said)) == 1:
            return said[0]
        named = zip(self.players, said, strict=True)
        return "; ".join(f"{player.name}: {line}" for player, line in named if line)


def unknown_message(player: Player, view: View) -> str:
    """Which tokens a run does not know, and what it does about them."""
    unknown = [place for place in view.places if not place.is_known]
    if not unknown:
        return ""
    names = list(dict.fromkeys(place.token for place in unknown))
    named = ", ".join(repr(name) for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    plural = len(unknown) > 1
    nouns, are = (player.noun + "s", "are") if plural else (player.noun, "is")
    fate = "read as <unk>" if unknown[0].is_read else "left out"
    return (
        f"{len(unknown)} {nouns} {are} not in the vocabulary, and {fate}: {named}{more}"
    )
