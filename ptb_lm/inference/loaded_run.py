"""A trained run from Python: texts in, texts and scores out."""

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config, GenerationConfig, ProbeConfig
from ptb_lm.data.corpus import corpus_name, encode_split
from ptb_lm.data.encoding import EncodedText, encode_tokens, stand_in
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import score_run
from ptb_lm.evaluation.members import Members
from ptb_lm.evaluation.metrics import Score
from ptb_lm.inference.features import features_of, mean_of
from ptb_lm.inference.opening import text_model
from ptb_lm.inference.prediction import Prediction, read_ids
from ptb_lm.inference.scored_text import ScoredText, scored_text
from ptb_lm.inference.text_model import TextModel
from ptb_lm.options import parse_weights
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system.quiet_start import tensorflow_warnings_held_back

DEFAULTS = GenerationConfig()


class _Read(NamedTuple):
    """A text as a run reads it.

    Attributes:
      text: without what is left out of it.
      written: its tokens as they stand there, those that are left out too.
      encoded: its tokens as ids.
    """

    text: str
    written: list[str]
    encoded: EncodedText


class LoadedRun(TrainedRun):
    """A trained run that generates, scores and gives features: see `ptb_lm.load`.

    It reads a text as the run reads its corpus. A text of `generate`, `score`,
    `predict` and `features` begins after a line end, where the vocabulary has one. What
    they do about tokens that the vocabulary lacks is their argument `unknown`, as
    ``--unknown``; if there is no ``<unk>``, they leave such tokens out with a warning.
    """

    def generate(
        self,
        prompts: Sequence[str],
        num_tokens: int = DEFAULTS.num_tokens,
        *,
        temperature: float = DEFAULTS.temperature,
        top_k: int = DEFAULTS.top_k,
        top_p: float = DEFAULTS.top_p,
        seed: int = 1,
        unknown: str = DEFAULTS.unknown,
    ) -> list[str]:
        """Continues each prompt.

        Args:
          prompts: n texts; an empty one starts a sentence.
          num_tokens: tokens to draw for each.
          temperature: as ``--temperature``, like the three that follow.
          top_k: as ``--top_k``.
          top_p: as ``--top_p``.
          seed: the same seed gives the same texts; text i of n is the one that seed + i
            gives for its prompt alone.
          unknown: as ``--unknown``.

        Returns:
          n texts, each the prompt and its continuation.

        Raises:
          UserError: a value is not allowed, or unknown="error" and a token is unknown.
        """
        rules = GenerationConfig(
            num_tokens=num_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            unknown=unknown,
        )
        read = self._read_texts(prompts, unknown)
        if not read:
            return []
        texts = self._text_model.generate(
            tf.constant([each.text for each in read]),
            num_tokens=num_tokens,
            temperature=temperature,
            top_k=rules.num_likeliest,
            top_p=top_p,
            seed=seed,
            allow_unknown=unknown == "draw",
        )["texts"]
        return [text.decode() for text in texts.numpy().tolist()]

    def score(
        self,
        texts: Sequence[str],
        *,
        unknown: str = DEFAULTS.unknown,
        count_unknown: bool = DEFAULTS.count_unknown,
        by_word: bool = DEFAULTS.by_word,
    ) -> list[ScoredText]:
        """Scores each text as a sentence, whatever the other texts are.

        Args:
          texts: n texts. With words, a line end also ends the last line of each.
          unknown: as ``--unknown``.
          count_unknown: as ``--count_unknown``.
          by_word: as ``--by_word``.

        Returns:
          n scored texts, in nats. The first token counts if a line end precedes it.

        Raises:
          UserError: unknown="error" and a token is unknown, or the perplexity is not
            finite.
        """
        read = self._read_texts(texts, unknown, close_lines=True)
        if not read:
            return []
        context = "\n" if self.line_end_id is not None else ""
        given = tf.constant([each.text for each in read])
        found = self._text_model.score(given, context=context)
        names = ("log_probabilities", "counted")
        rows = zip(*(found[name].numpy().tolist() for name in names), strict=True)
        scored = [
            self._scored(each.written, _nats(*row), unknown)
            for each, row in zip(read, rows, strict=True)
        ]
        if by_word and self._rules.token_type != "word":
            scored = [each.by_word(self._rules.join) for each in scored]
        return [
            dataclasses.replace(each, counts_unknown=count_unknown) for each in scored
        ]

    def predict(
        self,
        text: str,
        num_expected: int = 5,
        *,
        unknown: str = DEFAULTS.unknown,
        previous: Prediction | None = None,
    ) -> Prediction:
        """Says of each token of a text, and of the next one, what was to be expected.

        Args:
          text: the text; its last line is left open.
          num_expected: how many of the likeliest tokens to name at every place, at
            least 1.
          unknown: as ``--unknown``.
          previous: what an earlier call gave for a text that begins alike, as one does
            while it is typed. The result is the same, and sooner there.

        Returns:
          The tokens with their scores, what was expected in place of each, and the
          distribution of the token that follows.

        Raises:
          UserError: unknown="error" and a token is unknown, or the perplexity is not
            finite.
        """
        if num_expected < 1:
            raise ValueError(f"num_expected is {num_expected}, not at least 1")
        (read,) = self._read_texts([text], unknown)
        before, ids = self._before, read.encoded.ids
        reading = read_ids(
            self._text_model,
            self.vocabulary.tokens,
            np.concatenate([before, ids]),
            num_expected,
            previous.reading if previous else None,
        )
        # Without a line end before it, nothing is expected in place of the first token.
        first = 0 if len(before) or not len(ids) else 1
        nats: list[float | None] = [*[None] * first, *reading.nats]
        scored = self._scored(read.written, nats, unknown)
        return Prediction(
            scored.rows, expected=[[]] * first + reading.expected, reading=reading
        )

    def features(
        self,
        texts: Sequence[str],
        *,
        unknown: str = DEFAULTS.unknown,
        pooling: str = "none",
    ) -> list[np.ndarray]:
        """What the network knows after each token: the inputs of the softmax.

        Args:
          texts: n texts; the last line of each is left open.
          unknown: as ``--unknown``.
          pooling: as ``--pooling``.

        Returns:
          n arrays, float32 [tokens, width], or with pooling="mean" [width]. Row t of a
          text is given after its token t, and predicts token t + 1. The width is that
          of the last layer, or of the embedding where a projection stands before a
          tied softmax.

        Raises:
          UserError: unknown="error" and a token is unknown, or a value is not allowed.
        """
        is_mean = ProbeConfig(pooling=pooling).pooling == "mean"
        read = self._read_texts(texts, unknown)
        lengths = [len(each.encoded.ids) for each in read]
        found = features_of(self._text_model, [each.text for each in read], lengths)
        return [mean_of(rows) if is_mean else rows for rows in found]

    def evaluate(
        self,
        split: str = "test",
        *,
        text: str | None = None,
        counting: str = "exact",
        **options: Any,
    ) -> Score:
        """Scores a split of the run's corpus, or a text.

        Args:
          split: "train", "valid" or "test".
          text: scored instead of the split; each line is a sentence.
          counting: as ``--counting``.
          **options: of ``--mode=evaluate`` by name: method, unknown, dynamic,
            cache_size, ngram_order, and their constants.

        Returns:
          The sum of nats and the number of tokens; `Score.perplexity` is read off them.

        Raises:
          UserError: the corpus cannot be read, the text is too short, a token is
            unknown and there is no ``<unk>`` or unknown="error", or the perplexity is
            not finite.
        """
        config = Config.from_values({"counting": counting, **options})
        data, unknown = self.config.data, config.generation.unknown

        def read(split: str) -> np.ndarray:
            return encode_split(data, split, self.vocabulary, unknown).ids

        if text is None:
            ids, name = read(split), f"{corpus_name(data.data_path)} {split}"
        else:
            tokens = self._rules.split(text, close_lines=True)
            ids, name = self._encode(tokens, unknown).ids, "given"
        weights = parse_weights(config.evaluation.mixture_weights)
        members = Members(config, [self], read, weights=weights)
        # It warns of a function that is traced again, as that of each method is.
        with tensorflow_warnings_held_back():
            return score_run(self, ids, config, name, members.method())

    @functools.cached_property
    def _text_model(self) -> TextModel:
        """The functions of an export, of this run's weights."""
        return text_model(self)

    @property
    def _before(self) -> np.ndarray:
        """Ids that are read before a text: of a line end, or none; int32 [0 or 1]."""
        line_end = self.line_end_id
        return np.array([] if line_end is None else [line_end], np.int32)

    @property
    def _rules(self) -> TokenRules:
        """How the run splits texts into tokens."""
        return TokenRules.of(self.config.data)

    def _read_texts(
        self, texts: Sequence[str], unknown: str, close_lines: bool = False
    ) -> list[_Read]:
        """Splits and encodes each text."""
        if isinstance(texts, str):
            raise TypeError(f"a list of texts is needed, not one text: {texts!r}")
        policy, read = stand_in(unknown, self.vocabulary), []
        for text in texts:
            written = self._rules.split(text, close_lines)
            encoded = self._encode(written, policy)
            if encoded.left_out:
                warnings.warn(
                    f"{encoded.left_out} tokens of {text!r:.40} are not in the"
                    " vocabulary, and left out",
                    stacklevel=3,
                )
                text = self._rules.join(self.vocabulary.decode(encoded.ids.tolist()))
            read.append(_Read(text, written, encoded))
        return read

    def _scored(
        self, written: list[str], nats: Sequence[float | None], unknown: str
    ) -> ScoredText:
        """Joins the tokens of a text with the nats of those that the model reads."""
        return scored_text(
            written,
            nats,
            self.vocabulary,
            self._rules.line_end,
            leaves_out=stand_in(unknown, self.vocabulary) == "skip",
        )

    def _encode(self, tokens: list[str], unknown: str) -> EncodedText:
        """Encodes tokens; UserError where an unknown one has no stand-in."""
        try:
            return encode_tokens(tokens, self.vocabulary, unknown)
        except KeyError as error:
            raise UserError(f"not in the vocabulary: {error.args[0]!r}") from error


def _nats(log_probabilities: list[float], counted: list[bool]) -> list[float | None]:
    """What `TextModel.score` gives of one text, as nats."""
    return [
        -log_probability if counts else None
        for log_probability, counts in zip(log_probabilities, counted, strict=True)
    ]
