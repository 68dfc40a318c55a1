"""Texts that a model generates while it is being trained, for TensorBoard.

They do not change the training: they depend on the weights, the seed and the prompt
alone.
"""

import html

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from ptb_lm.inference.text_model import TextModel
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.results import EpochScores
from ptb_lm.tensorboard.events import RUN, Events
from ptb_lm.tensorboard.observer import Observer

SENTENCES = 3  # of the validation text, whose beginnings are the prompts
BEGINNING = {"word": 3, "char": 12, "byte": 12}  # tokens; of bytes, characters


def prompts(config: Config, corpus: Corpus) -> list[str]:
    """The prompts of --sample_prompts, or the beginnings of validation sentences.

    Raises:
      UserError: a prompt has a token that the vocabulary lacks, with no ``<unk>``
        to stand for it, or is empty where no line end can stand before it.
    """
    rules = TokenRules.of(config.data)
    if not config.tensorboard.sample_prompts:
        return _beginnings(corpus, rules)
    given = config.tensorboard.sample_prompts.split("|")
    known = {*corpus.vocabulary.tokens}
    for prompt in given:
        tokens = rules.split(prompt, close_lines=False)
        unknown = [token for token in tokens if token not in known]
        if unknown and corpus.vocabulary.unknown_id is None:
            raise UserError(f"--sample_prompts: not in the corpus: {unknown[0]!r}")
        if not tokens and rules.line_end not in known:
            raise UserError("--sample_prompts: one is empty, and no line ends before")
    return given


def _beginnings(corpus: Corpus, rules: TokenRules) -> list[str]:
    """The beginnings of the first sentences of the validation text."""
    tokens = corpus.vocabulary.decode(corpus.splits["valid"][:1000])
    sentences = [line.strip() for line in rules.join(tokens).split("\n")]
    size = BEGINNING[rules.token_type]
    if rules.are_bytes:  # a cut between two bytes may be inside a character
        return [sentence[:size] for sentence in sentences if sentence][:SENTENCES]
    pieces = [rules.split(s, close_lines=False)[:size] for s in sentences if s]
    return [rules.join(piece) for piece in pieces[:SENTENCES]]


class TextSamples(Observer):
    """Continues the same prompts after every epoch."""

    def __init__(
        self, events: Events, model: LanguageModel, corpus: Corpus, config: Config
    ):
        """Reads the prompts.

        Args:
          events: where to write.
          model: the model that is being trained.
          corpus: its vocabulary, and its validation text for prompts.
          config: the run's.

        Raises:
          UserError: as `prompts`.
        """
        self._events = events
        self._model = TextModel(
            model, corpus.vocabulary, config.data.token_type, config.data.normalize
        )
        given, rules = prompts(config, corpus), TokenRules.of(config.data)
        self._beginnings = [_as_read(prompt, rules, corpus) for prompt in given]
        # TensorFlow keeps a tensor of every Python number that it is ever given.
        self._arguments = {
            "prompts": tf.constant(given),
            "num_tokens": tf.constant(config.tensorboard.sample_tokens),
            "temperature": tf.constant(1.0),
            "top_k": tf.constant(0),
            "top_p": tf.constant(1.0),
            "seed": tf.constant(config.training.seed, tf.int64),
            "allow_unknown": tf.constant(True),
        }

    def after_epoch(self, scores: EpochScores) -> None:
        """Writes the texts by the present weights; their prompts are bold."""
        texts = self._model.generate(**self._arguments)["texts"].numpy().tolist()
        # As HTML, in which a text can hide no markup: Markdown has no such thing.
        blocks = [
            f"<pre><strong>{html.escape(beginning)}</strong>"
            f"{html.escape(text.decode()[len(beginning) :])}</pre>"
            for beginning, text in zip(self._beginnings, texts, strict=True)
        ]
        self._events.text(RUN, scores.epoch, "epoch/samples", "\n\n".join(blocks))


def _as_read(prompt: str, rules: TokenRules, corpus: Corpus) -> str:
    """What a generated text begins with: the prompt as the model reads it."""
    tokens = rules.split(prompt, close_lines=False)
    vocabulary = corpus.vocabulary
    return rules.join(vocabulary.decode(vocabulary.encode(tokens)))
