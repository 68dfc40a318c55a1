"""Scores of texts in the graph, the same whatever texts are scored beside them.

All ids are int32; inside, tensors are time-major.
"""

import tensorflow as tf

from ptb_lm.evaluation.evaluator import CHUNK_TOKENS
from ptb_lm.model.language_model import LanguageModel, State

# From this many rows on, each row of TensorFlow's matrix products on a CPU has
# the same bits, however many there are; a single row takes another routine, which
# adds up in another order. (Rows of the transposed product: from 17 on.)
FEWEST_ROWS, FEWEST_ROWS_TRANSPOSED = 2, 32


class RowIndependent:
    """A model that gives a row the same numbers, whatever the other rows.

    Bit for bit, as far as `FEWEST_ROWS` is right for the machine, and to float32
    precision anywhere. A `Scorable`.
    """

    def __init__(self, model: LanguageModel):
        """Stands for a model; its weights are shared, not copied."""
        self._model = model
        self.vocab_size = model.vocab_size

    def named_variables(self) -> dict[str, tf.Variable]:
        """The weights of the model."""
        return self._model.named_variables()

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Zero state of these rows, and of those that are added to them."""
        return self._model.initial_state(tf.maximum(batch_size, FEWEST_ROWS))

    def embed(self, ids: tf.Tensor) -> tf.Tensor:
        """[time, batch] -> float32 [time, rows, hidden], with the added rows."""
        return self._model.embed(
            _with_rows(ids, tf.maximum(tf.shape(ids)[1], FEWEST_ROWS))
        )

    def features(
        self, embedded: tf.Tensor, state: State, *, with_gradient: bool = True
    ) -> tuple[tf.Tensor, State]:
        """What the softmax reads [time, rows, hidden], and the state after."""
        return self._model.features(embedded, state, with_gradient=with_gradient)

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Unnormalized log-probabilities [time, rows, vocabulary]."""
        return self._model.logits(features)

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """-log p(target) in nats: targets [time, batch] -> float32, the same.

        Never logits of more than CHUNK_TOKENS tokens at a time.
        """
        time, batch = tf.unstack(tf.shape(targets))
        rows = tf.shape(features)[1]
        nats = self._nats_of_rows(
            tf.reshape(features, [-1, features.shape[-1]]),
            tf.reshape(_with_rows(targets, rows), [-1]),
        )
        return tf.reshape(nats, [time, rows])[:, :batch]

    def _nats_of_rows(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """[m, hidden], int32 [m] -> float32 [m]."""
        count = tf.shape(targets)[0]
        padding = tf.maximum(FEWEST_ROWS_TRANSPOSED - count, 0)
        features = tf.pad(features, [[0, padding], [0, 0]])
        targets = tf.pad(targets, [[0, padding]])
        # Tiles of nearly equal size, so that none is left with too few rows.
        tiles = (count + padding + CHUNK_TOKENS - 1) // CHUNK_TOKENS

        def score_tile(tile: tf.Tensor, nats: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            begin = (count + padding) * tile // tiles
            end = (count + padding) * (tile + 1) // tiles
            tile_nats = tf.nn.sparse_softmax_cross_entropy_with_logits(
                targets[begin:end], self._model.logits(features[begin:end])
            )
            return tile + 1, tf.concat([nats, tile_nats], axis=0)

        _, nats = tf.while_loop(
            lambda tile, _: tile < tiles,
            score_tile,
            (0, tf.zeros([0])),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
            parallel_iterations=1,
        )
        return nats[:count]


def _with_rows(ids: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """[time, batch] -> [time, rows]: rows of zeros are added."""
    return tf.pad(ids, [[0, 0], [0, rows - tf.shape(ids)[1]]])


def log_probabilities(model: LanguageModel, ids: tf.Tensor) -> tf.Tensor:
    """Log-probability of each token given all before it in its row.

    From a zero state. Memory grows with the ids, not with ids times vocabulary. A
    row's numbers do not depend on the other rows, see `RowIndependent`.

    Args:
      model: the model.
      ids: int32 [n, t].

    Returns:
      Nats, float32 [n, max(t - 1, 0)]: of tokens 1 .. t - 1.
    """
    scorer = RowIndependent(model)
    n, t = tf.unstack(tf.shape(ids))
    inputs, targets = tf.transpose(ids[:, :-1]), tf.transpose(ids[:, 1:])
    chunk = tf.maximum(CHUNK_TOKENS // tf.maximum(n, FEWEST_ROWS), 1)

    def score_chunk(
        begin: tf.Tensor, state: State, nats: tf.Tensor
    ) -> tuple[tf.Tensor, State, tf.Tensor]:
        end = tf.minimum(begin + chunk, t - 1)
        embedded = scorer.embed(inputs[begin:end])
        features, state = scorer.features(embedded, state, with_gradient=False)
        chunk_nats = scorer.token_nats(features, targets[begin:end])
        return end, state, tf.concat([nats, chunk_nats], axis=0)

    state = scorer.initial_state(n)
    *_, nats = tf.while_loop(
        lambda begin, *_: begin < t - 1,
        score_chunk,
        (0, state, tf.zeros([0, n])),
        shape_invariants=(
            tf.TensorShape([]),
            tf.nest.map_structure(lambda part: part.shape, state),
            tf.TensorShape([None, None]),
        ),
        parallel_iterations=1,
    )
    return -tf.transpose(nats)


def scores_of_rows(
    model: LanguageModel, before: tf.Tensor, ids: tf.RaggedTensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Log-probabilities of texts of different lengths, whatever the other texts are.

    Args:
      model: the model.
      before: what precedes every text, int32 [1, tokens]; perhaps nothing.
      ids: of n texts, int32 [n, (t)].

    Returns:
      Nats, float32 [n, t], 0 where nothing is counted; and what is, bool [n, t]: the
      tokens of the texts, but no first token that nothing precedes.
    """
    dense, width = ids.to_tensor(), tf.shape(before)[1]
    whole = tf.concat([tf.repeat(before, ids.nrows(), axis=0), dense], axis=1)
    # The first token of all has no score; where there is none at all, no column.
    unscored = tf.zeros_like(whole[:, :1], tf.float32)
    scores = tf.concat([unscored, log_probabilities(model, whole)], axis=1)[:, width:]
    columns = tf.range(tf.shape(dense)[1])
    within = tf.sequence_mask(ids.row_lengths(), tf.shape(dense)[1])
    counted = within & (columns + width > 0)
    return tf.where(counted, scores, 0.0), counted


def perplexities(scores: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Of what `scores_of_rows` gives: float64 [n], whose sums are of float64."""
    nats = -tf.reduce_sum(tf.cast(scores, tf.float64), axis=1)
    return tf.exp(nats / tf.reduce_sum(tf.cast(counted, tf.float64), axis=1))


def features_of_rows(
    model: LanguageModel, ids: tf.RaggedTensor, line_end: int | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """What the softmax reads after each token, whatever the other texts are.

    Args:
      model: the model.
      ids: of n texts, int32 [n, (t)].
      line_end: id of the token that precedes each of them; None: there is none.

    Returns:
      Features, float32 [n, t, width], 0 after a text's end; and their means over the
      tokens of a text, float32 [n, width], NaN if it has none.
    """
    scorer, dense = RowIndependent(model), ids.to_tensor()
    n, t = tf.unstack(tf.shape(dense))
    whole, before = tf.pad(dense, [[0, 0], [0, 1]]), 0  # one column at least to read
    if line_end is not None:
        whole, before = tf.concat([tf.fill([n, 1], line_end), dense], axis=1), 1
    features, _ = scorer.features(
        scorer.embed(tf.transpose(whole)), scorer.initial_state(n), with_gradient=False
    )
    within = tf.sequence_mask(ids.row_lengths(), t)
    of_tokens = tf.transpose(features[before : before + t, :n], [1, 0, 2])
    of_tokens = tf.where(within[..., None], of_tokens, 0.0)
    lengths = tf.cast(ids.row_lengths(), tf.float32)
    return of_tokens, tf.reduce_sum(of_tokens, axis=1) / lengths[:, None]
