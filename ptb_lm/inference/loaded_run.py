"""A trained run from Python: texts in, texts and scores out."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config, GenerationConfig
from ptb_lm.data.corpus import corpus_name, encode_split
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import UNKNOWN
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import score_run
from ptb_lm.evaluation.members import Members
from ptb_lm.evaluation.metrics import Score
from ptb_lm.inference.opening import text_model
from ptb_lm.inference.scored_text import ScoredText
from ptb_lm.inference.text_model import TextModel
from ptb_lm.runs.trained_run import TrainedRun

DEFAULTS = GenerationConfig()


class LoadedRun(TrainedRun):
    """A trained run that generates, scores and gives features: see `ptb_lm.load`.

    It reads a text as the run reads its corpus. A text of `generate`, `score` and
    `features` begins after a line end, where the vocabulary has one. Unknown words are
    read as ``<unk>``; a vocabulary without ``<unk>`` makes them a UserError.
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
        allow_unknown: bool = False,
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
          allow_unknown: as ``--allow_unknown``.

        Returns:
          n texts, each the prompt and its continuation.

        Raises:
          UserError: a value is not allowed, or a word is unknown.
        """
        rules = GenerationConfig(
            num_tokens=num_tokens, temperature=temperature, top_k=top_k, top_p=top_p
        )
        if not self._ids(prompts):
            return []
        texts = self._text_model.generate(
            tf.constant(list(prompts)),
            num_tokens=num_tokens,
            temperature=temperature,
            top_k=rules.num_likeliest,
            top_p=top_p,
            seed=seed,
            allow_unknown=allow_unknown,
        )["texts"]
        return [text.decode() for text in texts.numpy().tolist()]

    def score(self, texts: Sequence[str]) -> list[ScoredText]:
        """Scores each text as a sentence, whatever the other texts are.

        Args:
          texts: n texts. With words, a line end also ends the last line of each.

        Returns:
          n scored texts. The first token counts if a line end precedes it.

        Raises:
          UserError: a word is unknown.
        """
        if not self._ids(texts):
            return []
        context = "\n" if self._has_line_end else ""
        found = self._text_model.score(tf.constant(list(texts)), context=context)
        names = ("tokens", "log_probabilities", "counted")
        rows = zip(*(found[name].numpy().tolist() for name in names), strict=True)
        return [_scored_text(*row) for row in rows]

    def features(self, texts: Sequence[str]) -> list[np.ndarray]:
        """What the network knows after each token: the inputs of the softmax.

        Args:
          texts: n texts; the last line of each is left open.

        Returns:
          n arrays, float32 [tokens, width]. Row t of a text is given after its token
          t, and predicts token t + 1. The width is that of the last layer, or of the
          embedding where a projection stands before a tied softmax.

        Raises:
          UserError: a word is unknown.
        """
        start = self._rules.split("\n", close_lines=False) if self._has_line_end else []
        before = self.vocabulary.encode(start)
        found = []
        for ids in self._ids(texts):
            whole = tf.constant(np.concatenate([before, ids]))
            found.append(self._read(whole).numpy()[len(before) :])
        return found

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
          **options: of ``--mode=evaluate`` by name: method, dynamic, cache_size,
            ngram_order, and their constants.

        Returns:
          The sum of nats and the number of tokens; `Score.perplexity` is read off them.

        Raises:
          UserError: the corpus cannot be read, the text is too short, or a word is
            unknown.
        """
        config = Config.from_values({"counting": counting, **options})
        data = self.config.data
        if text is None:
            ids = encode_split(data, split, self.vocabulary)
            name = f"{corpus_name(data.data_path)} {split}"
        else:
            (ids,), name = self._ids([text], close_lines=True), "given"
        members = Members(
            config, [self], lambda split: encode_split(data, split, self.vocabulary)
        )
        return score_run(self, ids, config, name, members.method())

    @functools.cached_property
    def _text_model(self) -> TextModel:
        """The functions of an export, of this run's weights."""
        return text_model(self)

    @functools.cached_property
    def _read(self) -> tf.types.experimental.GenericFunction:
        """Ids int32 [time] -> features float32 [time, width], from a zero state."""
        model = self._text_model.keras_model()

        def read(ids: tf.Tensor) -> tf.Tensor:
            embedded = model.embed(ids[:, None])
            state = model.initial_state(1)
            return model.features(embedded, state, with_gradient=False)[0][:, 0]

        signature = [tf.TensorSpec([None], tf.int32)]
        return tf.function(read, input_signature=signature, autograph=False)

    @property
    def _rules(self) -> TokenRules:
        """How the run splits texts into tokens."""
        return TokenRules.of(self.config.data)

    @property
    def _has_line_end(self) -> bool:
        """Whether a line end is a token of the vocabulary."""
        return self._rules.line_end in self.vocabulary.tokens

    def _ids(self, texts: Sequence[str], close_lines: bool = False) -> list[np.ndarray]:
        """Ids of each text, int32 [tokens]; UserError where a token is unknown."""
        if isinstance(texts, str):
            raise TypeError(f"a list of texts is needed, not one text: {texts!r}")
        try:
            return [
                self.vocabulary.encode(self._rules.split(text, close_lines))
                for text in texts
            ]
        except KeyError as error:
            raise UserError(
                f"not in the vocabulary, which has no {UNKNOWN}: {error.args[0]!r}"
            ) from error


def _scored_text(
    tokens: list[bytes], log_probabilities: list[float], counted: list[bool]
) -> ScoredText:
    """One text of what `TextModel` scores; there is no token after its end."""
    length = len([token for token in tokens if token])
    nats = [
        -log_probability if counts else None
        for log_probability, counts in zip(log_probabilities, counted, strict=True)
    ]
    return ScoredText([token.decode() for token in tokens[:length]], nats[:length])
