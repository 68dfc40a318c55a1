"""A language model as functions of strings: what an export is made of.

    model = tf.saved_model.load("RUN/saved_model")
    model.generate(["the company said"], num_tokens=50, temperature=0.8, seed=7)

Every function is a method of the loaded object, with defaults, and a serving
signature, without.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.inference import sampling
from ptb_lm.inference.arguments import FUNCTIONS, checks, signatures
from ptb_lm.inference.graph_tokenizer import GraphTokenizer
from ptb_lm.inference.scoring import features_of_rows, perplexities, scores_of_rows
from ptb_lm.inference.state_layout import StateLayout, step
from ptb_lm.model.language_model import LanguageModel, State
from ptb_lm.system.quiet_start import tensorflow_warnings_held_back

# Of the functions and of what they take and give; `metadata()` tells it. In format 1,
# which does not tell it, a state is float32 [n, parts, hidden]: all parts of one size.
# Format 2 has no function `features`.
FORMAT = 3


class TextModel(tf.Module):
    """A language model with its vocabulary: strings in, strings out, batched.

    Prompts are read after a line end (``<eos>``) from a zero state, as a sentence
    stands in the training text; so an empty prompt starts a sentence. Tokens that
    the vocabulary lacks are read as ``<unk>``, or left out if it has no ``<unk>``. A
    function that reads texts counts them for each text, in `unknown_tokens`.

    A state is one tensor, float32 [n, width]: all parts of all layers side by side.
    Callers need not look inside; `metadata()` tells which part lies where.
    """

    def __init__(
        self,
        model: LanguageModel,
        vocabulary: Vocabulary,
        token_type: str = "word",
        normalize: str = "none",
        metadata: dict[str, Any] | None = None,
    ):
        """Joins a model and a vocabulary.

        Args:
          model: the model; its weights are shared, not copied.
          vocabulary: its tokens.
          token_type: "word", "char" or "byte", see `GraphTokenizer`.
          normalize: what is done to texts first, "none" or "letters".
          metadata: what JSON can hold; `metadata()` tells it.

        Raises:
          UserError: the vocabulary is not of the model's size.
        """
        super().__init__()
        if len(vocabulary) != model.vocab_size:
            raise UserError(
                f"the vocabulary has {len(vocabulary):,} tokens, the model"
                f" {model.vocab_size:,}: they do not belong together"
            )
        # A closure, so that saving sees the variables and not the Keras object,
        # which would bring Keras's own functions along.
        self._model = lambda: model
        self._weights = model.named_variables()
        self._tokenizer = GraphTokenizer(vocabulary, token_type, normalize)
        self._layout = StateLayout(model)
        self._metadata_json = json.dumps(
            {
                "format": FORMAT,
                "state": [dataclasses.asdict(part) for part in self._layout.parts],
                "token_type": token_type,
                "normalize": normalize,
            }
            | (metadata or {}),
            ensure_ascii=False,
        )
        self._make_functions()

    def _make_functions(self) -> None:
        """Makes each method a graph function, under its public name."""
        state = tf.TensorSpec([None, self._layout.width])
        for name, arguments in signatures(state).items():
            method = getattr(self, f"_{name}")
            function = tf.function(method, input_signature=arguments, autograph=False)
            setattr(self, name, function)

    def _generate(
        self,
        prompts: tf.Tensor,
        num_tokens: tf.Tensor = 100,
        temperature: tf.Tensor = 1.0,
        top_k: tf.Tensor = 0,
        top_p: tf.Tensor = 1.0,
        seed: tf.Tensor = 1,
        allow_unknown: tf.Tensor = False,
    ) -> dict[str, tf.Tensor]:
        """Continues each prompt.

        Args:
          prompts: string [n].
          num_tokens: tokens to draw for each, at least 1.
          temperature: at least 0; 0 takes the likeliest token every time.
          top_k: draw among this many likeliest tokens only; 0: all.
          top_p: draw among the likeliest tokens that together have this
            probability only, in (0, 1].
          seed: the same seed gives the same texts; row i draws what a batch of one
            would with seed + i.
          allow_unknown: whether ``<unk>`` may be drawn.

        Returns:
          texts: prompt and continuation, string [n].
          continuations: what was drawn, written so that it follows the prompt's
            last word or line, string [n].
          tokens: what was drawn, string [n, num_tokens].
          ids: the same, int32 [n, num_tokens].
          unknown_tokens: of the prompt, int64 [n].
        """
        prompt_ids, unknown = self._tokenizer.read(prompts, False)
        last_ids, state = self._read_prompts(prompt_ids)
        rules = temperature, top_k, top_p
        ids, _ = self._draw_ids(
            last_ids, state, num_tokens, 0, rules, seed, allow_unknown
        )
        drawn = tf.RaggedTensor.from_tensor(ids)
        return {
            "texts": self._tokenizer.join(tf.concat([prompt_ids, drawn], axis=1)),
            "continuations": self._tokenizer.join(drawn),
            "tokens": tf.gather(self._tokenizer.tokens, ids),
            "ids": ids,
            "unknown_tokens": unknown,
        }

    def _score(self, texts: tf.Tensor, context: tf.Tensor = "") -> dict[str, tf.Tensor]:
        """Scores each text, whatever the other texts are.

        It reads a text as a corpus is read: with words, ``<eos>`` also ends the last
        line. It scores each token given all tokens before it, from a zero state.
        Without a context it does not count the first token, because nothing precedes
        it. `Evaluator.exact` counts the same, so the perplexity is that of
        ``--mode=evaluate``. With a context (a line feed, as before a sentence), it
        counts every token of the text.

        Args:
          texts: string [n].
          context: what precedes each text, string []; it is read and not scored.

        Returns:
          tokens: as the model reads them, string [n, t], "" after a text's end.
          log_probabilities: nats, float32 [n, t]; 0 where nothing is counted.
          counted: bool [n, t].
          perplexities: of the counted tokens, float64 [n]; NaN if there are none.
          unknown_tokens: int64 [n].
        """
        tokenizer = self._tokenizer
        ids, unknown = tokenizer.read(texts, True)
        before = tokenizer.read(context[None], False)[0].to_tensor()
        scores, counted = scores_of_rows(self._model(), before, ids)
        return {
            "tokens": tokenizer.names(ids),
            "log_probabilities": scores,
            "counted": counted,
            "perplexities": perplexities(scores, counted),
            "unknown_tokens": unknown,
        }

    def _features(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the network knows after each token: the inputs of the softmax.

        A text begins after a line end, as a prompt, and its last line is left open.
        Its features do not depend on the other texts.

        Args:
          texts: string [n].

        Returns:
          tokens: as the model reads them, string [n, t], "" after a text's end.
          features: float32 [n, t, width], 0 after a text's end. Row t is given after
            token t, and predicts token t + 1. The width is that of the last layer, or
            of the embedding where a projection stands before a tied softmax.
          means: over the tokens of a text, float32 [n, width]; NaN if it has none.
          lengths: tokens of each text, int64 [n].
          unknown_tokens: int64 [n].
        """
        tokenizer = self._tokenizer
        ids, unknown = tokenizer.read(texts, False)
        features, means = features_of_rows(self._model(), ids, tokenizer.line_end_id)
        return {
            "tokens": tokenizer.names(ids),
            "features": features,
            "means": means,
            "lengths": ids.row_lengths(),
            "unknown_tokens": unknown,
        }

    def _next_tokens(
        self, prompts: tf.Tensor, k: tf.Tensor = 5
    ) -> dict[str, tf.Tensor]:
        """The likeliest next tokens, the likeliest first.

        Args:
          prompts: string [n].
          k: how many, at least 1; at most all.

        Returns:
          tokens: string [n, k].
          probabilities: float32 [n, k].
          ids: int32 [n, k].
          unknown_tokens: of the prompt, int64 [n].
        """
        model = self._model()
        prompt_ids, unknown = self._tokenizer.read(prompts, False)
        last_ids, state = self._read_prompts(prompt_ids)
        logits, _ = sampling.next_logits(model, last_ids, state)
        probabilities = tf.nn.softmax(logits)
        check = tf.debugging.assert_greater_equal(k, 1, "k must be at least 1")
        with tf.control_dependencies([check]):
            k = tf.minimum(k, model.vocab_size)
        probabilities, ids = tf.math.top_k(probabilities, k)
        return {
            "tokens": tf.gather(self._tokenizer.tokens, ids),
            "probabilities": probabilities,
            "ids": ids,
            "unknown_tokens": unknown,
        }

    def _initial_state(self, n: tf.Tensor = 1) -> dict[str, tf.Tensor]:
        """Zero state of n rows: state, float32 [n, width]."""
        return {"state": self._layout.pack(self._model().initial_state(n))}

    def _step(self, ids: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads tokens, see `step`: ids, int32 [n, t]; state, float32 [n, width]."""
        check = tf.debugging.assert_positive(tf.shape(ids)[1], "ids has no tokens")
        with tf.control_dependencies([check]):
            ids = tf.identity(ids)
        return step(self._model(), self._layout, ids, state)

    def _begin(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads prompts of one length, for `draw` to continue.

        Args:
          ids: int32 [n, t]; t may be 0.

        Returns:
          last_ids: the last token of each row, int32 [n].
          state: before that token is read, float32 [n, width].
        """
        last_ids, state = self._read_prompts(tf.RaggedTensor.from_tensor(ids))
        return {"last_ids": last_ids, "state": self._layout.pack(state)}

    def _draw(
        self,
        last_ids: tf.Tensor,
        state: tf.Tensor,
        num_tokens: tf.Tensor = 1,
        position: tf.Tensor = 0,
        temperature: tf.Tensor = 1.0,
        top_k: tf.Tensor = 0,
        top_p: tf.Tensor = 1.0,
        seed: tf.Tensor = 1,
        allow_unknown: tf.Tensor = False,
    ) -> dict[str, tf.Tensor]:
        """`generate` in pieces, for a caller that shows tokens as they are drawn.

        Args:
          last_ids: the last token so far of each row, int32 [n].
          state: before that token is read, float32 [n, width].
          num_tokens: tokens to draw now.
          position: tokens drawn before; with it the pieces are those of one call.
          temperature: as in `generate`, like all that follows.
          top_k: as in `generate`.
          top_p: as in `generate`.
          seed: as in `generate`.
          allow_unknown: as in `generate`.

        Returns:
          ids: int32 [n, num_tokens].
          state: before the last of these is read.
        """
        parts, rules = self._layout.unpack(state), (temperature, top_k, top_p)
        ids, state = self._draw_ids(
            last_ids, parts, num_tokens, position, rules, seed, allow_unknown
        )
        return {"ids": ids, "state": self._layout.pack(state)}

    def _split(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokens of texts as they stand there, known or not.

        Returns:
          tokens: string [n, t], "" after a text's end.
        """
        return {"tokens": self._tokenizer.split(texts, False).to_tensor("")}

    def _encode(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads texts: string [n]; the last line is left open.

        Returns:
          ids: as the model reads them, int32 [n, t], 0 after a text's end.
          lengths: ids of each text, int64 [n].
          unknown_tokens: int64 [n].
        """
        ids, unknown = self._tokenizer.read(texts, False)
        return {
            "ids": ids.to_tensor(),
            "lengths": ids.row_lengths(),
            "unknown_tokens": unknown,
        }

    def _decode(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Writes texts: int32 [n, t] -> texts, string [n]."""
        return {"texts": self._tokenizer.join(tf.RaggedTensor.from_tensor(ids))}

    def _vocabulary(self) -> dict[str, tf.Tensor]:
        """The tokens in id order: tokens, string [vocabulary]."""
        return {"tokens": tf.identity(self._tokenizer.tokens)}

    def _metadata(self) -> dict[str, tf.Tensor]:
        """What is known of the model: json, string []."""
        return {"json": tf.constant(self._metadata_json)}

    def save(self, path: pathlib.Path) -> None:
        """Writes a SavedModel folder, each function a method and a signature."""
        # As concrete functions: others would be traced once more.
        signatures = {
            name: getattr(self, name).get_concrete_function() for name in FUNCTIONS
        }
        with tensorflow_warnings_held_back():
            tf.saved_model.save(self, str(path), signatures)

    def keras_model(self) -> LanguageModel:
        """The model itself, for Keras's own saving."""
        return self._model()

    def _read_prompts(self, ids: tf.RaggedTensor) -> tuple[tf.Tensor, State]:
        """Prompts after a line end -> last token of each, state before it."""
        ids = self._tokenizer.start_line(ids)
        model = self._model()
        state = model.initial_state(tf.cast(ids.nrows(), tf.int32))
        last_ids = tf.squeeze(ids[:, -1:].to_tensor(shape=[None, 1]), axis=1)
        return last_ids, sampling.read(model, ids[:, :-1], state)

    def _draw_ids(
        self,
        last_ids: tf.Tensor,
        state: State,
        num_tokens: tf.Tensor,
        position: tf.Tensor,
        rules: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
        seed: tf.Tensor,
        allow_unknown: tf.Tensor,
    ) -> tuple[tf.Tensor, State]:
        """Checks the arguments and draws: ids int32 [n, num_tokens], state."""
        temperature, top_k, top_p = rules
        with tf.control_dependencies(checks(num_tokens, position, *rules)):
            numbers = sampling.uniforms(
                seed, position, num_tokens, tf.shape(last_ids)[0]
            )
        return sampling.generate(
            self._model(),
            last_ids,
            state,
            numbers,
            temperature,
            top_k,
            top_p,
            self._penalty(allow_unknown),
        )

    def _penalty(self, allow_unknown: tf.Tensor) -> tf.Tensor:
        """float32 [vocabulary]: -inf for ``<unk>`` where it must not be drawn."""
        size, unknown_id = self._model().vocab_size, self._tokenizer.unknown_id
        if unknown_id is None or size == 1:
            return tf.zeros([size])
        is_barred = (tf.range(size) == unknown_id) & ~allow_unknown
        return tf.where(is_barred, -np.inf, 0.0)
