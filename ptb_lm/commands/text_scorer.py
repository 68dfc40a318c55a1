"""Texts and sentences scored by a run or an export, as the options say."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ptb_lm.commands.texts import Reader
from ptb_lm.config import Config
from ptb_lm.inference.scored_text import ScoredText, scored_text
from ptb_lm.registry import METHODS
from ptb_lm.system.progress import Update

if TYPE_CHECKING:
    from ptb_lm.evaluation.method import Method

LINE_END = "\n"


class TextScorer:
    """Scores texts with a model.

    Attributes:
      reader: encodes texts by the model's vocabulary.
    """

    def __init__(self, config: Config, model: Any, adapted: "Method | None" = None):
        """Takes the model.

        Args:
          config: of the command.
          model: from `open_model`.
          adapted: a method that learns from what it scores; None: --method.
        """
        from ptb_lm.evaluation.evaluator import SENTENCES, Evaluator
        from ptb_lm.inference.opening import scorable

        self._counts_unknown = config.generation.count_unknown
        self.reader = Reader(model, config.generation.unknown)
        name = config.evaluation.method
        self._evaluator = Evaluator(adapted or METHODS[name](scorable(model), config))
        # Another method may learn from one row of a batch what it needs for the next.
        self._rows = SENTENCES if name == "plain" and not adapted else 1

    def score(self, text: str) -> ScoredText:
        """Scores a text as a corpus is read: its last line of words is closed.

        Raises:
          UserError: there are unknown tokens, and --unknown=error.
        """
        is_open = self.reader.rules.token_type == "word" and text[-1:] != LINE_END
        (tokens,) = self.reader.split([text + LINE_END if is_open else text])
        ids = self.reader.encode(tokens).ids
        nats = self._evaluator.token_nats(ids).tolist()
        return self._scored(tokens, [None, *nats][: len(ids)])

    def score_sentences(
        self, texts: Sequence[str], after_batch: Update = lambda *_: None
    ) -> list[ScoredText]:
        """Scores each text as a sentence, which follows the end of a line.

        Args:
          texts: each without the end of its own last line, which is scored too.
          after_batch: called with the number of texts that are scored, and of all.

        Raises:
          UserError: as `score`.
        """
        tokens = self.reader.split([text + LINE_END for text in texts])
        ids = [self.reader.encode(each).ids for each in tokens]
        before = self.reader.read(LINE_END).ids
        found = self._evaluator.sentence_nats(before, ids, self._rows, after_batch)
        unscored = [] if len(before) else [None]
        return [
            self._scored(written, [*unscored, *nats.tolist()][: len(read)])
            for written, read, nats in zip(tokens, ids, found, strict=True)
        ]

    def _scored(self, written: list[str], nats: list[float | None]) -> ScoredText:
        """The tokens with their scores."""
        scored = scored_text(
            written,
            nats,
            self.reader.vocabulary,
            self.reader.rules.line_end,
            leaves_out=self.reader.leaves_out,
        )
        return dataclasses.replace(scored, counts_unknown=self._counts_unknown)
