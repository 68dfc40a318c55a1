"""Texts that a model goes on with while it is being trained, for TensorBoard.

Nothing random of the training is touched: what is drawn depends on the weights,
the seed and the prompt alone.
"""

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from ptb_lm.inference import sampling
from ptb_lm.inference.graph_tokenizer import GraphTokenizer
from ptb_lm.model.language_model import LanguageModel

SENTENCES = 3  # of the valid text, whose beginnings are the prompts
BEGINNING = {"word": 3, "char": 12}  # tokens


def prompts(config: Config, corpus: Corpus) -> list[str]:
    """The prompts of --sample_prompts, or the beginnings of valid sentences.

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
    """The beginnings of the first sentences of the valid text."""
    tokens = corpus.vocabulary.decode(corpus.splits["valid"][:1000])
    sentences = [line.strip() for line in rules.join(tokens).split("\n")]
    size = BEGINNING[rules.token_type]
    pieces = [rules.split(s, close_lines=False)[:size] for s in sentences if s]
    return [rules.join(piece) for piece in pieces[:SENTENCES]]


class TextSamples:
    """Continues the same prompts after every epoch."""

    def __init__(self, model: LanguageModel, corpus: Corpus, config: Config):
        """Reads the prompts.

        Args:
          model: the model that is being trained.
          corpus: its vocabulary, and the valid text for prompts.
          config: the run's.

        Raises:
          UserError: as `prompts`.
        """
        self._model, self._seed = model, config.training.seed
        self._count = config.tensorboard.sample_tokens
        self._prompts = prompts(config, corpus)
        self._tokenizer = GraphTokenizer(
            corpus.vocabulary, config.data.token_type, config.data.normalize
        )
        ids = self._tokenizer.split(tf.constant(self._prompts), close_lines=False)
        self._ids = self._tokenizer.ids(ids)

    def markdown(self) -> str:
        """The texts by the present weights, prompts and all."""
        texts = self._tokenizer.join(
            tf.concat([self._ids, tf.RaggedTensor.from_tensor(self._draw())], axis=1)
        )
        # As code: <unk> and $ are to be seen as they are.
        blocks = [
            "\n".join(f"    {line}" for line in text.decode().split("\n"))
            for text in texts.numpy().tolist()
        ]
        return "\n\n---\n\n".join(blocks)

    @tf.function(autograph=False)
    def _draw(self):
        """What follows each prompt, int32 [prompts, sample_tokens]."""
        ids, model = self._tokenizer.start_line(self._ids), self._model
        rows = len(self._prompts)
        state = sampling.read(model, ids[:, :-1], model.initial_state(rows))
        last_ids = tf.squeeze(ids[:, -1:].to_tensor(shape=[None, 1]), axis=1)
        seed = tf.constant(self._seed, tf.int64)
        numbers = sampling.uniforms(seed, 0, self._count, rows)
        penalty = tf.zeros([model.vocab_size])
        drawn, _ = sampling.generate(
            model, last_ids, state, numbers, 1.0, 0, 1.0, penalty
        )
        return drawn
