"""One scoring loop, shared by every way of evaluating a text."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ptb_lm.config import EvaluationConfig
from ptb_lm.data.windows import check_length, count_windows, rows_of
from ptb_lm.errors import UserError
from ptb_lm.evaluation.metrics import Score
from ptb_lm.model.language_model import LanguageModel, build_model
from ptb_lm.runs.checkpoint import assign
from ptb_lm.runs.folder import RunFolder

CHUNK_TOKENS = 1024  # tokens per call: long enough to hide the call's own cost


class Evaluator:
    """Scores texts with a model's present weights.

    The text is read as rows with the state carried along each of them, in
    chunks of time whose length changes the speed and not the result.
    """

    def __init__(self, model: LanguageModel, chunk_tokens: int = CHUNK_TOKENS):
        self._model = model
        self._chunk_tokens = chunk_tokens
        self._score_chunk = tf.function(
            self._score_chunk_eagerly, autograph=False, reduce_retracing=True
        )

    def _score_chunk_eagerly(self, inputs, targets, state):
        """[batch, time] ids and the state -> (sum of nats float64, state)."""
        model = self._model
        features, state = model.features(
            model.embed(tf.transpose(inputs)), state, with_gradient=False
        )
        nats = model.token_nats(features, tf.transpose(targets))
        return tf.reduce_sum(tf.cast(nats, tf.float64)), state

    def tutorial(
        self,
        ids: np.ndarray,
        batch_size: int,
        num_steps: int,
        between_chunks: Callable[[], None] = lambda: None,
    ) -> Score:
        """Score as the PTB tutorial counts: whole windows of batch_size rows.

        Args:
          ids: int32 [tokens].
          batch_size: number of rows.
          num_steps: columns of a window; what fills no window is dropped.
          between_chunks: called after every chunk.
        """
        rows = rows_of(ids, batch_size)
        steps = count_windows(len(ids), batch_size, num_steps) * num_steps
        return self._score_rows(rows[:, : steps + 1], between_chunks)

    def exact(
        self, ids: np.ndarray, between_chunks: Callable[[], None] = lambda: None
    ) -> Score:
        """Score of every predictable token, int32 [tokens] as one stream.

        Tokens 1 .. len(ids) - 1, each given all before it.
        """
        return self._score_rows(ids[None, :], between_chunks)

    def _score_rows(self, rows, between_chunks) -> Score:
        batch_size, length = rows.shape
        state = self._model.initial_state(batch_size)
        chunk = max(self._chunk_tokens // batch_size, 1)
        nats = 0.0
        for begin in range(0, length - 1, chunk):
            end = min(begin + chunk, length - 1)
            chunk_nats, state = self._score_chunk(
                tf.constant(rows[:, begin:end]),
                tf.constant(rows[:, begin + 1 : end + 1]),
                state,
            )
            nats += float(chunk_nats)
            between_chunks()
        return Score(nats, batch_size * max(length - 1, 0))


def trained_model(
    folder: RunFolder, weights: str, rnn_mode: str | None = None
) -> LanguageModel:
    """The model of a run.

    Args:
      folder: the run.
      weights: "best" or "last".
      rnn_mode: recurrent kernel; None: that of the run.

    Raises:
      UserError: the run has no such checkpoint, or its configuration, vocabulary
        and checkpoint do not belong together.
    """
    config = folder.config()
    if rnn_mode:
        options = dataclasses.replace(config.model, rnn_mode=rnn_mode)
        config = dataclasses.replace(config, model=options)
    model = build_model(config, len(folder.vocabulary()))
    try:
        assign(model.named_variables(), folder.weights(weights))
    except UserError as error:
        raise UserError(f"{folder.path}: {error}") from error
    return model


def score_run(
    folder: RunFolder, ids: np.ndarray, choice: EvaluationConfig, name: str
) -> Score:
    """Scores a text with a trained run's weights.

    Args:
      folder: the run.
      ids: int32 [tokens].
      choice: which weights, and how tokens are counted.
      name: of the text, for an error.

    Raises:
      UserError: the run has no checkpoint yet, or the text is too short.
    """
    model, training = trained_model(folder, choice.weights), folder.config().training
    batch = training.batch_size, training.num_steps
    if choice.counting == "tutorial":
        check_length(name, len(ids), *batch)
        return Evaluator(model).tutorial(ids, *batch)
    check_length(name, len(ids), 1, 1)
    return Evaluator(model).exact(ids)
