"""What a run says of a text."""

import bisect
import dataclasses
import functools
import itertools

from playground.draft import Draft
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from ptb_lm.evaluation.metrics import Score
from ptb_lm.inference.loaded_run import LoadedRun
from ptb_lm.inference.prediction import Expected, Prediction, likeliest

NUM_EXPECTED = 5  # tokens named in place of each token
NUM_CHOICES = 8  # tokens offered after the text


@dataclasses.dataclass(frozen=True)
class Place:
    """One token as it stands in the text.

    Attributes:
      token: the token.
      is_known: whether the vocabulary has it.
      is_read: whether the model reads it, or ``<unk>`` in its place.
      is_written: whether a model wrote it.
      nats: -log p; None where nothing comes before it, or where it is not read.
      expected: the likeliest tokens in its place.
    """

    token: str
    is_known: bool
    is_read: bool
    is_written: bool
    nats: float | None
    expected: Expected


@dataclasses.dataclass(frozen=True)
class View:
    """What a run says of a text.

    Attributes:
      places: the tokens of the text, without the unfinished one.
      unfinished: the beginning of a word at the end of the text; else "".
      choices: the likeliest next tokens; if a word is unfinished, those that begin so.
      prediction: from which the next view goes on.
    """

    places: list[Place]
    unfinished: str
    choices: Expected
    prediction: Prediction

    @property
    def score(self) -> Score:
        """Of the tokens that are counted."""
        return self.prediction.score


class Player:
    """A run in the page."""

    def __init__(self, run: LoadedRun, name: str):
        """Names the run as the page does."""
        self.run, self.name = run, name
        self.rules = TokenRules.of(run.config.data)
        nouns = {"word": "word", "char": "character", "byte": "byte"}
        self.noun = nouns[self.rules.token_type]

    def view(self, draft: Draft, previous: View | None = None) -> View:
        """Reads a draft.

        Args:
          draft: the text.
          previous: the view of a text that begins alike.
        """
        unfinished = self._unfinished(draft.text)
        text = draft.text.removesuffix(unfinished)
        prediction = self.run.predict(
            text, NUM_EXPECTED, previous=previous and previous.prediction
        )
        places = self._places(text, draft, prediction)
        return View(
            places, unfinished, self._choices(prediction, unfinished), prediction
        )

    def with_choice(self, text: str, token: str) -> str:
        """The text after a person chose one of `View.choices`."""
        text = text.removesuffix(self._unfinished(text))
        if self.noun == "character":
            return text + token
        if token == self.rules.line_end:
            return text.rstrip(" ") + "\n"
        gap = "" if not text or text[-1].isspace() else " "
        return f"{text}{gap}{token} "

    def continuation(self, text: str, settings: dict[str, float]) -> str:
        """What the run writes after a text.

        Args:
          text: the text.
          settings: num_tokens, temperature, top_k, top_p and seed, as of
            `LoadedRun.generate`.

        Raises:
          UserError: a setting is not allowed, or there is nothing to begin from.
        """
        known = self.run.predict(text, 1).tokens
        if not known and self.run.line_end_id is None:
            raise UserError(f"{self.name} needs a text to begin from: type something")
        (whole,) = self.run.generate([text], **settings)
        written = whole.removeprefix(self.rules.join(known))
        is_apart = self.noun == "character" or not text or not text[-1].isspace()
        return written if is_apart else written.removeprefix(" ")

    def _unfinished(self, text: str) -> str:
        """The end of a text that is no word, but the beginning of one; else ""."""
        if self.noun == "character" or not text or text[-1].isspace():
            return ""
        word = text.split()[-1]
        tokens = self.rules.split(word, close_lines=False)
        if len(tokens) != 1 or len(tokens[0]) != len(word):
            return ""  # normalizing found more than one word, or an end, in it
        is_beginning = tokens[0] not in self.run.vocabulary and self._begun(tokens[0])
        return word if is_beginning else ""

    @functools.cached_property
    def _sorted(self) -> list[str]:
        """The vocabulary in alphabetical order."""
        return sorted(self.run.vocabulary.tokens)

    def _begun(self, beginning: str) -> list[str]:
        """The tokens that begin so."""
        first = bisect.bisect_left(self._sorted, beginning)
        rest = itertools.islice(self._sorted, first, None)
        return list(itertools.takewhile(lambda t: t.startswith(beginning), rest))

    def _choices(self, prediction: Prediction, unfinished: str) -> Expected:
        """The likeliest tokens after what was read."""
        logs, vocabulary = prediction.next_log_probabilities, self.run.vocabulary
        if logs is None:
            return []
        if not unfinished:
            return likeliest(vocabulary.tokens, logs, NUM_CHOICES)
        (beginning,) = self.rules.split(unfinished, close_lines=False)
        tokens = self._begun(beginning)
        return likeliest(tokens, logs[vocabulary.encode(tokens)], NUM_CHOICES)

    def _places(self, text: str, draft: Draft, prediction: Prediction) -> list[Place]:
        """The tokens of a text, with what the run says of those that it reads."""
        vocabulary = self.run.vocabulary
        said = zip(prediction.nats, prediction.expected, strict=True)
        written = self._written(draft)
        places = []
        for index, token in enumerate(self.rules.split(text, close_lines=False)):
            is_known = token in vocabulary
            is_read = is_known or vocabulary.unknown_id is not None
            nats, expected = next(said) if is_read else (None, [])
            places.append(
                Place(token, is_known, is_read, index in written, nats, expected)
            )
        return places

    def _written(self, draft: Draft) -> set[int]:
        """Which tokens of the draft a model wrote."""

        def tokens_before(end: int) -> int:
            return len(self.rules.split(draft.text[:end], close_lines=False))

        return {
            index
            for begin, end in draft.written
            for index in range(tokens_before(begin), tokens_before(end))
        }
