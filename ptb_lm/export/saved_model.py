"""One SavedModel that generates and scores text, with TensorFlow alone.

    model = tf.saved_model.load("RUN/saved_model")
    model.generate(["the company said"], num_tokens=50, temperature=0.8, seed=7)

Every function is a method of the loaded object, with defaults, and a serving
signature, without.
"""

import contextlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm import __version__
from ptb_lm.data.corpus import corpus_name
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.evaluation.evaluator import trained_model
from ptb_lm.inference import sampling
from ptb_lm.inference.graph_tokenizer import GraphTokenizer
from ptb_lm.model.language_model import LanguageModel, State
from ptb_lm.runs.folder import RunFolder
from ptb_lm.system import files

STALE_SECONDS = 3600  # what an export that was killed left behind is removed then
FUNCTIONS = (
    "generate",
    "score",
    "next_tokens",
    "initial_state",
    "step",
    "begin",
    "draw",
    "split",
    "encode",
    "decode",
    "vocabulary",
    "metadata",
)

TEXTS, TEXT = tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.string)
IDS, LAST_IDS = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
INTEGER, SEED = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int64)
REAL, SWITCH = tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.bool)


class TextModel(tf.Module):
    """A language model with its vocabulary: strings in, strings out, batched.

    Prompts are read after a line end (``<eos>``) from a zero state, as a sentence
    stands in the training text; so an empty prompt starts a sentence. Unknown
    words are read as ``<unk>``.

    A state is one tensor, float32 [n, parts, hidden]: h (and c) of each layer.
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
          token_type: "word" or "char", see `GraphTokenizer`.
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
        metadata = {"token_type": token_type, "normalize": normalize} | (metadata or {})
        self._metadata = json.dumps(metadata, ensure_ascii=False)
        state = model.initial_state(1)
        parts = tf.nest.flatten(state)
        self._structure = tf.nest.map_structure(lambda _: None, state)
        self._state_spec = tf.TensorSpec([None, len(parts), parts[0].shape[-1]])
        self._make_functions()

    def _make_functions(self) -> None:
        """Makes each method a graph function, under its public name."""
        rules = {"temperature": REAL, "top_k": INTEGER, "top_p": REAL}
        rules |= {"seed": SEED, "allow_unknown": SWITCH}
        state = {"state": self._state_spec}
        pieces = {"last_ids": LAST_IDS, **state}
        pieces |= {"num_tokens": INTEGER, "position": INTEGER}
        methods = {
            "generate": (
                self._generate,
                {"prompts": TEXTS, "num_tokens": INTEGER, **rules},
            ),
            "score": (self._score, {"texts": TEXTS, "context": TEXT}),
            "next_tokens": (self._next_tokens, {"prompts": TEXTS, "k": INTEGER}),
            "initial_state": (self._initial_state, {"n": INTEGER}),
            "step": (self._step, {"ids": IDS, **state}),
            "begin": (self._begin, {"ids": IDS}),
            "draw": (self._draw, {**pieces, **rules}),
            "split": (self._split, {"texts": TEXTS}),
            "encode": (self._encode, {"texts": TEXTS}),
            "decode": (self._decode, {"ids": IDS}),
            "vocabulary": (self._vocabulary, {}),
            "metadata": (self._tell_metadata, {}),
        }
        for name in FUNCTIONS:
            method, arguments = methods[name]
            signature = [
                tf.TensorSpec(spec.shape, spec.dtype, name=argument)
                for argument, spec in arguments.items()
            ]
            function = tf.function(method, input_signature=signature, autograph=False)
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
        """
        prompt_ids = self._tokenizer.ids(self._tokenizer.split(prompts, False))
        last_ids, state = self._read_prompts(prompt_ids)
        ids, _ = self._draw_ids(
            last_ids,
            state,
            num_tokens,
            0,
            (temperature, top_k, top_p),
            seed,
            allow_unknown,
        )
        drawn = tf.RaggedTensor.from_tensor(ids)
        return {
            "texts": self._tokenizer.join(tf.concat([prompt_ids, drawn], axis=1)),
            "continuations": self._tokenizer.join(drawn),
            "tokens": tf.gather(self._tokenizer.tokens, ids),
            "ids": ids,
        }

    def _score(self, texts: tf.Tensor, context: tf.Tensor = "") -> dict[str, tf.Tensor]:
        """Scores each text, whatever the other texts are.

        Texts are read as a corpus is: the last line of words is closed by
        ``<eos>``, like the others. Counted are all tokens that have something
        before them, each given all that comes before it, from a zero state.
        Without a context that leaves out the first token, exactly as
        `Evaluator.exact` counts, so that the perplexity is that of
        ``--mode=evaluate``. With one (a line feed, as before a sentence), every
        token of the text is counted.

        Args:
          texts: string [n].
          context: text that each of them follows, string []; it is read and not
            scored.

        Returns:
          tokens: as the model reads them, string [n, t], "" after a text's end.
          log_probabilities: nats, float32 [n, t]; 0 where nothing is counted.
          counted: bool [n, t].
          perplexities: of the counted tokens, float64 [n]; NaN if there are none.
        """
        tokenizer = self._tokenizer
        ids = tokenizer.ids(tokenizer.split(texts, True))
        before = tokenizer.ids(tokenizer.split(context[None], False)).to_tensor()
        width = tf.shape(before)[1]
        dense = ids.to_tensor()
        whole = tf.concat([tf.repeat(before, ids.nrows(), axis=0), dense], axis=1)
        scores = sampling.log_probabilities(self._model(), whole)
        # The first token of all has no score; where there is none at all, no column.
        unscored = tf.zeros_like(whole[:, :1], tf.float32)
        scores = tf.concat([unscored, scores], axis=1)[:, width:]
        columns = tf.range(tf.shape(dense)[1])
        within = tf.sequence_mask(ids.row_lengths(), tf.shape(dense)[1])
        counted = within & (columns + width > 0)
        scores = tf.where(counted, scores, 0.0)
        return {
            "tokens": tf.where(within, tf.gather(tokenizer.tokens, dense), ""),
            "log_probabilities": scores,
            "counted": counted,
            "perplexities": _perplexities(scores, counted),
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
        """
        model = self._model()
        prompt_ids = self._tokenizer.ids(self._tokenizer.split(prompts, False))
        last_ids, state = self._read_prompts(prompt_ids)
        logits, _ = sampling.next_logits(model, last_ids, state)
        probabilities = tf.nn.softmax(logits)
        check = tf.debugging.assert_greater_equal(k, 1, "k must be at least 1")
        with tf.control_dependencies([check]):
            k = tf.minimum(k, model.vocab_size)
        probabilities, ids = tf.math.top_k(probabilities, k)
        tokens = tf.gather(self._tokenizer.tokens, ids)
        return {"tokens": tokens, "probabilities": probabilities, "ids": ids}

    def _initial_state(self, n: tf.Tensor = 1) -> dict[str, tf.Tensor]:
        """Zero state of n rows: state, float32 [n, parts, hidden]."""
        return {"state": self._pack(self._model().initial_state(n))}

    def _step(self, ids: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads tokens.

        Args:
          ids: int32 [n, t], t at least 1.
          state: before them, float32 [n, parts, hidden].

        Returns:
          log_probabilities: of the token after each of them, in nats, float32
            [n, t, vocabulary].
          state: after them.
        """
        model = self._model()
        check = tf.debugging.assert_positive(tf.shape(ids)[1], "ids has no tokens")
        with tf.control_dependencies([check]):
            embedded = model.embed(tf.transpose(ids))
        features, state = model.features(
            embedded, self._unpack(state), with_gradient=False
        )
        scores = tf.nn.log_softmax(model.logits(tf.transpose(features, [1, 0, 2])))
        return {"log_probabilities": scores, "state": self._pack(state)}

    def _begin(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads prompts of one length, for `draw` to go on from.

        Args:
          ids: int32 [n, t]; t may be 0.

        Returns:
          last_ids: the last token of each row, int32 [n].
          state: before that token is read, float32 [n, parts, hidden].
        """
        last_ids, state = self._read_prompts(tf.RaggedTensor.from_tensor(ids))
        return {"last_ids": last_ids, "state": self._pack(state)}

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
          state: before that token is read, float32 [n, parts, hidden].
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
        ids, state = self._draw_ids(
            last_ids,
            self._unpack(state),
            num_tokens,
            position,
            (temperature, top_k, top_p),
            seed,
            allow_unknown,
        )
        return {"ids": ids, "state": self._pack(state)}

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
          lengths: tokens of each text, int64 [n].
        """
        tokens = self._tokenizer.split(texts, False)
        return {
            "ids": self._tokenizer.ids(tokens).to_tensor(),
            "lengths": tokens.row_lengths(),
        }

    def _decode(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Writes texts: int32 [n, t] -> texts, string [n]."""
        return {"texts": self._tokenizer.join(tf.RaggedTensor.from_tensor(ids))}

    def _vocabulary(self) -> dict[str, tf.Tensor]:
        """The tokens in id order: tokens, string [vocabulary]."""
        return {"tokens": tf.identity(self._tokenizer.tokens)}

    def _tell_metadata(self) -> dict[str, tf.Tensor]:
        """What is known of the model: json, string []."""
        return {"json": tf.constant(self._metadata)}

    def save(self, path: pathlib.Path) -> None:
        """Writes a SavedModel folder, each function a method and a signature."""
        # As concrete functions: others would be traced once more.
        signatures = {
            name: getattr(self, name).get_concrete_function() for name in FUNCTIONS
        }
        with _quiet():
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
        self, last_ids, state, num_tokens, position, rules, seed, allow_unknown
    ):
        """Checks the arguments and draws: ids int32 [n, num_tokens], state."""
        temperature, top_k, top_p = rules
        with tf.control_dependencies(_checks(num_tokens, position, *rules)):
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

    def _penalty(self, allow_unknown):
        """float32 [vocabulary]: -inf for ``<unk>`` where it must not be drawn."""
        size, unknown_id = self._model().vocab_size, self._tokenizer.unknown_id
        if unknown_id is None or size == 1:
            return tf.zeros([size])
        is_barred = (tf.range(size) == unknown_id) & ~allow_unknown
        return tf.where(is_barred, -np.inf, 0.0)

    def _pack(self, state: State) -> tf.Tensor:
        """State of the model -> float32 [n, parts, hidden]."""
        return tf.stack(tf.nest.flatten(state), axis=1)

    def _unpack(self, state: tf.Tensor) -> State:
        """Inverse of `_pack`."""
        return tf.nest.pack_sequence_as(self._structure, tf.unstack(state, axis=1))


def _perplexities(scores, counted):
    """Nats [n, t], bool [n, t] -> float64 [n]; the sums are of float64."""
    nats = -tf.reduce_sum(tf.cast(scores, tf.float64), axis=1)
    return tf.exp(nats / tf.reduce_sum(tf.cast(counted, tf.float64), axis=1))


def _checks(num_tokens, position, temperature, top_k, top_p):
    """Assertions on the arguments of generate; NaN breaks them too."""
    rules = [
        (num_tokens >= 1, "num_tokens must be at least 1:", num_tokens),
        (position >= 0, "position must be at least 0:", position),
        (temperature >= 0.0, "temperature must be at least 0:", temperature),
        (top_k >= 0, "top_k must be at least 0 (0: all tokens):", top_k),
        (
            tf.logical_and(top_p > 0.0, top_p <= 1.0),
            "top_p must be greater than 0 and at most 1:",
            top_p,
        ),
    ]
    return [tf.debugging.Assert(holds, [text, value]) for holds, text, value in rules]


def text_model(
    folder: RunFolder, weights: str, results: dict[str, Any] | None = None
) -> TextModel:
    """The trained model of a run, ready to generate and score.

    Args:
      folder: the run.
      weights: "best" or "last".
      results: what results.json holds or will hold; None: read it.

    Raises:
      UserError: as `trained_model`.
    """
    # Where cuDNN is in a graph, the graph needs a GPU.
    model = trained_model(folder, weights, rnn_mode="fused")
    return TextModel(
        model,
        folder.vocabulary(),
        folder.config().data.token_type,
        folder.config().data.normalize,
        metadata=_metadata(folder, model, weights, results),
    )


def _metadata(folder, model, weights, results):
    """What a model should tell of itself, as JSON holds it."""
    config = folder.config()
    if results is None:
        results = {}
        with contextlib.suppress(UserError):  # the first epoch may not be over
            results = folder.read_results().to_json()
    return {
        "project": f"ptb_lm {__version__}",
        "tensorflow": tf.__version__,
        "name": config.run.model,
        "corpus": corpus_name(config.data.data_path),
        "token_type": config.data.token_type,
        "vocabulary_size": model.vocab_size,
        "parameters": model.count_params(),
        "weights": weights,
        "perplexities": results.get(f"{weights}_weights"),
    }


def export_run(
    folder: RunFolder, weights: str = "best", results: dict[str, Any] | None = None
) -> pathlib.Path:
    """Writes a run's saved_model/ and model.keras.

    Each is written aside, synced, and put in place at once, so that it is whole
    whenever it is read.

    Args:
      folder: the run.
      weights: "best" or "last".
      results: as in `text_model`.

    Returns:
      The SavedModel's path.

    Raises:
      UserError: as `text_model`, or it cannot be written.
    """
    exported = text_model(folder, weights, results)
    path = folder.path / "saved_model"
    try:
        _remove_stale(folder.path)
        with (
            tempfile.TemporaryDirectory(dir=folder.path, prefix=".export.") as aside,
            _quiet(),
        ):
            new = pathlib.Path(aside) / "new"
            exported.save(new)
            keras_file = pathlib.Path(aside) / "model.keras"
            exported.keras_model().save(keras_file)
            _sync(pathlib.Path(aside))
            files.replace_folder(path, new)
            keras_file.replace(folder.path / "model.keras")
            files.sync_folder(folder.path)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{path}: cannot write: {files.reason(error)}") from error
    return path


def _sync(folder: pathlib.Path) -> None:
    """Makes all below a folder durable."""
    for path in folder.rglob("*"):
        if path.is_dir():
            files.sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what killed exports left; a young one may be at work."""
    for path in folder.glob(".export.*"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what TensorFlow logs of every export."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def open_text_model(path: pathlib.Path, weights: str = "best") -> Any:
    """Opens a run folder or a SavedModel of this project.

    A run is read from its checkpoint, so that the weights are those asked for;
    where it has none, from its saved_model.

    Args:
      path: a run folder, or a folder with saved_model.pb.
      weights: "best" or "last", for a run folder.

    Returns:
      A `TextModel`, or the like of it that TensorFlow restored.

    Raises:
      UserError: there is neither there, or it cannot be used.
    """
    if (path / "saved_model.pb").is_file():
        return _load(path)
    folder = RunFolder(path)
    if (path / "checkpoints").is_dir() and folder.holds_run():
        return text_model(folder, weights)
    if (path / "saved_model" / "saved_model.pb").is_file():
        return _load(path / "saved_model")
    if folder.holds_run():
        return text_model(folder, weights)  # says that there is no checkpoint
    raise UserError(
        f"{path}: neither a run (no flags.txt) nor a SavedModel (no saved_model.pb)"
    )


def _load(path: pathlib.Path) -> Any:
    """Restores a SavedModel; UserError where it is damaged or not one of ours."""
    try:
        with _quiet():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # a bad file makes TensorFlow raise almost anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: cannot be loaded: {reason}") from error
    missing = [name for name in FUNCTIONS if not hasattr(loaded, name)]
    if missing:
        raise UserError(
            f"{path}: a SavedModel, but not of this project: no function {missing[0]}"
        )
    return loaded
