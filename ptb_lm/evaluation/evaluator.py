"""One scoring loop, shared by every method and every way of counting."""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.windows import check_length, count_windows, fills_window, rows_of
from ptb_lm.evaluation.method import Method
from ptb_lm.evaluation.metrics import Score
from ptb_lm.evaluation.rows import StatefulMethod, nats_in_rows, rows_of_stream
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system.progress import Update

SENTENCES = 64  # to read side by side
CHUNK_TOKENS = 1024  # tokens per call: long enough to hide the call's own cost


class Evaluator:
    """Scores texts by a method.

    It reads a text as rows, chunk by chunk. The length of a chunk changes the speed and
    not the result. In one stream, each token is scored given all before it.
    """

    def __init__(self, method: Method, chunk_tokens: int = CHUNK_TOKENS):
        """Takes the method, and the number of tokens in a chunk."""
        self._method = method
        self._chunk_tokens = chunk_tokens

    def tutorial(
        self,
        ids: np.ndarray,
        batch_size: int,
        num_steps: int,
        after_chunk: Update = lambda *_: None,
    ) -> Score:
        """Score as the PTB tutorial counts: whole windows of batch_size rows.

        A text that is too short for one window is scored as `exact` does it.

        Args:
          ids: int32 [tokens].
          batch_size: number of rows.
          num_steps: columns of a window; tokens that fill no window are left out.
          after_chunk: called after every chunk with the number of tokens that are
            scored, and of those in all.
        """
        if not fills_window(len(ids), batch_size, num_steps):
            return self.exact(ids, after_chunk)
        rows = rows_of(ids, batch_size)
        steps = count_windows(len(ids), batch_size, num_steps) * num_steps
        return self._sum(rows[:, : steps + 1], after_chunk)

    def exact(self, ids: np.ndarray, after_chunk: Update = lambda *_: None) -> Score:
        """Score of every predictable token, int32 [tokens] as one stream.

        Tokens 1 .. len(ids) - 1, each given all before it. `after_chunk` is called as
        `tutorial` calls it. A long text may be read in rows, see `evaluation.rows`.
        """
        nats = self._nats_in_rows(ids, after_chunk)
        if nats is None:
            return self._sum(ids[None, :], after_chunk)
        return Score(float(nats.sum(dtype=np.float64)), len(nats))

    def token_nats(
        self, ids: np.ndarray, after_chunk: Update = lambda *_: None
    ) -> np.ndarray:
        """Nats of every predictable token, as `exact` counts them.

        Args:
          ids: int32 [tokens].
          after_chunk: as `tutorial` takes it.

        Returns:
          -log p in nats, float32 [max(tokens - 1, 0)].
        """
        in_rows = self._nats_in_rows(ids, after_chunk)
        if in_rows is not None:
            return in_rows
        nats, tokens = [np.zeros(0, np.float32)], 0
        for chunk in self._chunks(ids[None, :]):
            nats.append(chunk.numpy()[0])
            tokens += len(nats[-1])
            after_chunk(tokens, len(ids) - 1)
        return np.concatenate(nats)

    def _nats_in_rows(self, ids: np.ndarray, after_chunk: Update) -> np.ndarray | None:
        """What `token_nats` returns; None where it takes one stream."""
        rows = rows_of_stream(self._method, ids)
        if rows == 1:
            return None
        method = cast(StatefulMethod, self._method)
        return nats_in_rows(method, ids, rows, self._chunk_tokens, after_chunk)

    def sentence_nats(
        self,
        context: np.ndarray,
        sentences: Sequence[np.ndarray],
        max_rows: int = SENTENCES,
        after_batch: Update = lambda *_: None,
    ) -> list[np.ndarray]:
        """Nats of the tokens of sentences that know nothing of each other.

        Sentences of like length are read side by side.

        Args:
          context: what precedes each of them, int32 [tokens]: it is read and not
            scored. It may be empty.
          sentences: each int32 [tokens].
          max_rows: how many to read side by side. 1 for a method that learns from
            what it reads.
          after_batch: called with the number of sentences that are scored, and of all.

        Returns:
          Of each sentence -log p in nats, float32 [tokens]; without a context float32
          [max(tokens - 1, 0)], because nothing precedes the first token.
        """
        lengths = np.array([len(context) + len(each) for each in sentences], int)
        found = [np.zeros(0, np.float32)] * len(sentences)
        order, first = np.argsort(lengths, kind="stable"), max(len(context) - 1, 0)
        for begin in range(0, len(order), max_rows):
            batch = order[begin : begin + max_rows]
            rows = np.zeros((len(batch), lengths[batch[-1]]), np.int32)
            for row, place in zip(rows, batch, strict=True):
                row[: lengths[place]] = np.concatenate([context, sentences[place]])
            chunks = [chunk.numpy() for chunk in self._chunks(rows)]
            nats = np.concatenate([np.zeros((len(batch), 0), np.float32), *chunks], 1)
            for row, place in zip(nats, batch, strict=True):
                found[place] = row[first : max(lengths[place] - 1, 0)]
            after_batch(begin + len(batch), len(order))
        return found

    def _sum(self, rows: np.ndarray, after_chunk: Update) -> Score:
        """Score of all tokens of the rows [batch, time] but the first of each."""
        nats, tokens, total = 0.0, 0, rows[:, 1:].size
        for chunk in self._chunks(rows):
            # In time-major order: a sum's last bits depend on the order.
            in_order = tf.cast(tf.transpose(chunk), tf.float64)
            nats += float(tf.reduce_sum(in_order))
            tokens += in_order.shape.num_elements()
            after_chunk(tokens, total)
        return Score(nats, tokens)

    def _chunks(self, rows: np.ndarray) -> Iterator[tf.Tensor]:
        """Nats of the rows [batch, time], chunk by chunk, float32 [batch, steps]."""
        batch_size, length = rows.shape
        steps = max(self._chunk_tokens // batch_size, 1)
        self._method.begin(batch_size)
        try:
            for begin in range(0, length - 1, steps):
                end = min(begin + steps, length - 1)
                chunk = rows[:, begin : end + 1].astype(np.int32, copy=False)
                yield self._method.score(
                    tf.constant(chunk[:, :-1]), tf.constant(chunk[:, 1:])
                )
        finally:
            self._method.end()


def score_run(
    run: TrainedRun,
    ids: np.ndarray,
    config: Config,
    name: str,
    method: Method,
    after_chunk: Update = lambda *_: None,
) -> Score:
    """Scores a text with a trained run's weights.

    Args:
      run: whose batches the tutorial's counting uses.
      ids: int32 [tokens].
      config: how tokens are counted.
      name: of the text, for an error.
      method: made for the run's model.
      after_chunk: as `Evaluator.tutorial` takes it.

    Raises:
      UserError: the text is too short, or the perplexity is not finite.
    """
    training = run.config.training
    evaluator = Evaluator(method)
    check_length(name, len(ids), 1, 1)
    if config.evaluation.counting == "tutorial":
        batch = training.batch_size, training.num_steps
        score = evaluator.tutorial(ids, *batch, after_chunk)
    else:
        score = evaluator.exact(ids, after_chunk)
    score.check_finite()
    return score
