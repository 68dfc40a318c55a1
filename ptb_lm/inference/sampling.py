"""Decoding in the graph: reading prompts and drawing tokens.

Everything here is a function of tensors, made to be traced into one graph. All
ids are int32; a state is as `LanguageModel.initial_state` gives it.
"""

import tensorflow as tf

from ptb_lm.evaluation.evaluator import CHUNK_TOKENS
from ptb_lm.model.language_model import LanguageModel, State

UNIFORMS_PER_BLOCK = 64  # of the random numbers of a row, drawn at once


def uniforms(
    seed: tf.Tensor, first: tf.Tensor, count: tf.Tensor, rows: tf.Tensor
) -> tf.Tensor:
    """Random numbers that depend on (seed + row, place) alone.

    The numbers of row r for seed s are those of row 0 for seed s + r, whatever
    the other rows and wherever a sequence is cut.

    Args:
      seed: int64 [].
      first: place of the first number within each row's sequence, int32 [].
      count: numbers for each row, int32 [], at least 1.
      rows: int32 [].

    Returns:
      Uniform in [0, 1), float64 [count, rows].
    """
    first, count = tf.cast(first, tf.int64), tf.cast(count, tf.int64)
    rows = tf.cast(rows, tf.int64)
    first_block = first // UNIFORMS_PER_BLOCK
    last_block = (first + count - 1) // UNIFORMS_PER_BLOCK
    blocks, row_seeds = tf.meshgrid(
        tf.range(first_block, last_block + 1), seed + tf.range(rows)
    )
    keys = tf.reshape(tf.stack([row_seeds, blocks], axis=2), [-1, 2])
    numbers = tf.map_fn(
        lambda key: tf.random.stateless_uniform(
            [UNIFORMS_PER_BLOCK], key, dtype=tf.float64
        ),
        keys,
        fn_output_signature=tf.TensorSpec([UNIFORMS_PER_BLOCK], tf.float64),
    )
    width = (last_block + 1 - first_block) * UNIFORMS_PER_BLOCK
    numbers = tf.reshape(numbers, tf.stack([rows, width]))
    skipped = first - first_block * UNIFORMS_PER_BLOCK
    return tf.transpose(numbers[:, skipped : skipped + count])


def draw(
    logits: tf.Tensor,
    uniform: tf.Tensor,
    temperature: tf.Tensor,
    top_k: tf.Tensor,
    top_p: tf.Tensor,
) -> tf.Tensor:
    """Draws one token for each row, by inverting the distribution function.

    The distribution is softmax(logits / temperature), cut to the top_k likeliest
    tokens, then to the fewest of these that together reach top_p of what is left
    (nucleus sampling, Holtzman et al. 2020, section 3.1), and scaled up again.
    Among equally likely tokens the one of the lower id counts as likelier.

    Args:
      logits: float32 [n, vocabulary]; -inf for what must not be drawn.
      uniform: float64 [n], in [0, 1).
      temperature: float32 []; 0 takes the likeliest token.
      top_k: int32 []; 0, or more than there are: all tokens.
      top_p: float32 [], in (0, 1].

    Returns:
      Ids, int32 [n].
    """

    def likeliest() -> tf.Tensor:
        return tf.argmax(logits, axis=1, output_type=tf.int32)

    def relative_probabilities() -> tf.Tensor:  # of the largest
        differences = logits - tf.reduce_max(logits, axis=1, keepdims=True)
        # No smaller divisor: 0 / 0 where denormal numbers are flushed to zero.
        return tf.exp(differences / tf.maximum(temperature, 1e-30))

    def from_all() -> tf.Tensor:
        return _draw_in_proportion(relative_probabilities(), uniform)

    def from_likeliest() -> tf.Tensor:
        vocab_size = tf.shape(logits)[1]
        kept = tf.where(top_k > 0, tf.minimum(top_k, vocab_size), vocab_size)
        values, ids = tf.math.top_k(relative_probabilities(), kept)
        values = tf.cast(values, tf.float64)
        cumulative = tf.cumsum(values, axis=1)
        before = tf.cumsum(values, axis=1, exclusive=True)
        needed = before < tf.cast(top_p, tf.float64) * cumulative[:, -1:]
        mass = tf.reduce_max(tf.where(needed, cumulative, 0.0), axis=1)
        places = _find(cumulative, uniform * mass)
        return tf.gather(ids, places, axis=1, batch_dims=1)

    is_cut = tf.logical_or(top_k > 0, top_p < 1.0)
    return tf.cond(
        tf.equal(temperature, 0.0),
        likeliest,
        lambda: tf.cond(is_cut, from_likeliest, from_all),
    )


def _draw_in_proportion(weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Index of an entry, drawn in proportion to it: [n, m], float64 [n] -> int32 [n].

    First a block of entries is drawn and then one of the block's, so that what is
    added up one after the other, in float64, is the square root of all.
    """
    n, count = tf.unstack(tf.shape(weights))
    width = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(count, tf.float32))), tf.int32)
    rows = (count + width - 1) // width
    weights = tf.pad(weights, [[0, 0], [0, rows * width - count]])
    blocks = tf.reshape(weights, tf.stack([n, rows, width]))
    masses = tf.cast(tf.reduce_sum(blocks, axis=2), tf.float64)
    cumulative = tf.cumsum(masses, axis=1)
    points = uniform * cumulative[:, -1]
    block = _find(cumulative, points)
    points = tf.maximum(
        points - tf.gather(cumulative - masses, block, batch_dims=1), 0.0
    )
    within = tf.cast(tf.gather(blocks, block, batch_dims=1), tf.float64)
    cumulative = tf.cumsum(within, axis=1)
    # The two sums of a block differ by rounding: its end must not be passed.
    points = tf.minimum(points, cumulative[:, -1] * (1.0 - 1e-12))
    return block * width + _find(cumulative, points)


def _find(cumulative: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Index of the first entry above each point: [n, m], [n] -> int32 [n]."""
    places = tf.searchsorted(cumulative, points[:, None], side="right")
    return tf.squeeze(places, axis=1)


def read(model: LanguageModel, ids: tf.RaggedTensor, state: State) -> State:
    """State after each row's tokens: ids int32 [n, (t)].

    A row's state stays where the row ends. All rows are run together up to the
    next place where one of them ends, so that the sequence kernel does the work.
    """
    dense, lengths = ids.to_tensor(), tf.cast(ids.row_lengths(), tf.int32)
    # Rows that have ended do not limit a stretch.
    longest = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    chunk = tf.maximum(CHUNK_TOKENS // tf.maximum(tf.shape(dense)[0], 1), 1)

    def stretch(begin: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        ahead = tf.where(lengths > begin, lengths, longest)
        end = tf.minimum(tf.reduce_min(ahead), begin + chunk)
        embedded = model.embed(tf.transpose(dense[:, begin:end]))
        _, after = model.features(embedded, state, with_gradient=False)
        reads = (lengths >= end)[:, None]
        return end, tf.nest.map_structure(
            lambda new, old: tf.where(reads, new, old), after, state
        )

    _, state = tf.while_loop(
        lambda begin, _: begin < longest, stretch, (0, state), parallel_iterations=1
    )
    return state


def next_logits(
    model: LanguageModel, ids: tf.Tensor, state: State
) -> tuple[tf.Tensor, State]:
    """Reads one token: ids int32 [n], state -> logits [n, vocabulary], state."""
    embedded = model.embed(ids[None])
    features, state = model.features(embedded, state, with_gradient=False)
    return model.logits(features[0]), state


def generate(
    model: LanguageModel,
    last_ids: tf.Tensor,
    state: State,
    numbers: tf.Tensor,
    temperature: tf.Tensor,
    top_k: tf.Tensor,
    top_p: tf.Tensor,
    penalty: tf.Tensor,
) -> tf.Tensor:
    """Draws tokens one after the other.

    Args:
      model: the model.
      last_ids: the token that each row continues, int32 [n].
      state: before that token is read.
      numbers: from `uniforms`, float64 [tokens, n]; at least one token.
      temperature: as in `draw`.
      top_k: as in `draw`.
      top_p: as in `draw`.
      penalty: added to the logits, float32 [vocabulary].

    Returns:
      Ids, int32 [n, tokens], and the state before the last of them is read.
    """
    count = tf.shape(numbers)[0]
    drawn = tf.TensorArray(tf.int32, count, element_shape=last_ids.shape)

    def step(
        index: tf.Tensor, ids: tf.Tensor, state: State, drawn: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, State, tf.TensorArray]:
        logits, state = next_logits(model, ids, state)
        logits += penalty
        ids = draw(logits, numbers[index], temperature, top_k, top_p)
        ids.set_shape(last_ids.shape)
        return index + 1, ids, state, drawn.write(index, ids)

    _, _, state, drawn = tf.while_loop(
        lambda index, *_: index < count,
        step,
        (0, last_ids, state, drawn),
        parallel_iterations=1,
    )
    return tf.transpose(drawn.stack()), state
