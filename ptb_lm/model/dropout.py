"""Dropout: what one mask covers, and where in the model masks are.

    kept = mask x / keep_prob,  P(mask = 1) = keep_prob

A mask is drawn from (seed, step, place), so that nothing random has to be saved and
a resumed run draws the masks of an uninterrupted one.

(Zaremba et al. 2014: dropout on what goes from layer to layer, and not from step to
step. Merity et al. 2017, section 4, for words and recurrent weights.)
"""

import abc
import contextlib
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from ptb_lm.config import ModelConfig
from ptb_lm.errors import UserError
from ptb_lm.model.cell import Cell, Layer
from ptb_lm.registry import DROPOUTS


class Rows(NamedTuple):
    """Rows of a batch of which another device has the others.

    Attributes:
      first: number of the first, int32 scalar.
      own: how many they are.
      all: how many the batch has.
    """

    first: tf.Tensor
    own: int
    all: int


class SeedAndStep(NamedTuple):
    """What decides every mask.

    Attributes:
      seed: of the run, int64 scalar.
      step: training step, int64 scalar.
      rows: which rows of the batch there are; None: all.
    """

    seed: tf.Tensor
    step: tf.Tensor
    rows: Rows | None = None


# None: no dropout.
DropoutSeed: TypeAlias = SeedAndStep | None


class Dropout(abc.ABC):
    """What one mask covers. The members of the registry `DROPOUTS` are instances."""

    @abc.abstractmethod
    def mask_shape(self, shape: tf.Tensor) -> tf.Tensor:
        """Shape of the mask for a sequence, int32 [3].

        Args:
          shape: of the sequence, (time, batch, width). The mask's shape has 1 for each
            axis along which the mask stays the same.
        """

    def __call__(
        self,
        sequence: tf.Tensor,
        keep_prob: float,
        seed: tf.Tensor,
        rows: Rows | None = None,
    ) -> tf.Tensor:
        """Keeps what the mask keeps, scaled by 1 / keep_prob.

        The mask of some rows is cut out of that of the whole batch, so that it does
        not matter how many devices share the batch.

        Args:
          sequence: [time, batch, width].
          keep_prob: in (0, 1].
          seed: int64 [2]; the same seed gives the same mask.
          rows: which rows of the batch the sequence has; None: all.
        """
        shape = tf.shape(sequence)
        if rows is not None:
            shape = tf.stack([shape[0], rows.all, shape[2]])
        shape = self.mask_shape(shape)
        draws = tf.random.stateless_uniform(shape, seed, dtype=sequence.dtype)
        if rows is not None:
            places = rows.first + tf.range(rows.own)
            # A mask that all rows share has one row.
            draws = tf.gather(draws, tf.minimum(places, shape[1] - 1), axis=1)
        kept = sequence / keep_prob
        return tf.where(draws < keep_prob, kept, tf.zeros_like(sequence))


class StepDropout(Dropout):
    """A new mask at every time step (Zaremba et al. 2014, section 3.1)."""

    def mask_shape(self, shape: tf.Tensor) -> tf.Tensor:
        """See `Dropout.mask_shape`."""
        return shape


class SequenceDropout(Dropout):
    """One mask for all time steps of a row (Gal and Ghahramani 2016).

    Of a window, that is: the next window of the row has another mask.
    """

    def mask_shape(self, shape: tf.Tensor) -> tf.Tensor:
        """See `Dropout.mask_shape`."""
        return tf.stack([1, shape[1], shape[2]])


STEP = StepDropout()
SEQUENCE = SequenceDropout()


class ModelDropout:
    """All dropout of a model: each place, and with what probability it is kept.

    Sequences are dropped on the embedding (place 0) and on the output of the n-th
    layer (place n); the weights of the n-th layer, and words, have masks beside
    these.
    """

    def __init__(self, options: ModelConfig, vocab_size: int, cell: Cell):
        """Takes what concerns dropout from the options of a model.

        Args:
          options: of the model.
          vocab_size: number of tokens.
          cell: of its layers.

        Raises:
          UserError: the cell lacks the weights that are to be dropped.
        """
        if options.keep_prob_recurrent < 1.0 and (
            cell.dropped_weight not in cell.weight_names
        ):
            raise UserError(
                f"--keep_prob_recurrent={options.keep_prob_recurrent}: the cell"
                f" {options.cell} has no {cell.dropped_weight}"
            )
        self._dropped_weight = cell.dropped_weight
        self._vocab_size = vocab_size
        self._kind: Dropout = DROPOUTS[options.dropout]
        self._of_words = options.keep_prob_embedding
        self._of_weights = options.keep_prob_recurrent
        layers, keep_prob = options.num_layers, options.keep_prob
        self._of_sequences = [
            options.keep_prob_input or keep_prob,
            *[options.keep_prob_between or keep_prob] * (layers - 1),
            options.keep_prob_output or keep_prob,
        ]

    def sequence(self, sequence: tf.Tensor, seed: DropoutSeed, place: int) -> tf.Tensor:
        """Drops units of a sequence [time, batch, width]."""
        keep_prob = self._of_sequences[place]
        if seed is None or keep_prob == 1.0:
            return sequence
        mask_seed = self._mask_seed(seed, place)
        return self._kind(sequence, keep_prob, mask_seed, seed.rows)

    def words(
        self, embedded: tf.Tensor, ids: tf.Tensor, seed: DropoutSeed
    ) -> tf.Tensor:
        """Drops words, each wherever it occurs in the window, or nowhere.

        All rows of the batch drop the same words. (Merity et al. 2017, section 4.3,
        after Gal and Ghahramani 2016, section 4.2, where each row has its own.)

        Args:
          embedded: rows of the embedding, [time, batch, width].
          ids: of these rows, int32 [time, batch].
          seed: as of `DropoutSeed`.
        """
        keep_prob = self._of_words
        if seed is None or keep_prob == 1.0:
            return embedded
        draws = tf.random.stateless_uniform(
            [self._vocab_size], self._mask_seed(seed, 0, True)
        )
        mask = tf.cast(draws < keep_prob, embedded.dtype) / keep_prob
        return embedded * tf.gather(mask, ids)[..., None]

    def weights(
        self, layer: Layer, seed: DropoutSeed, place: int
    ) -> contextlib.AbstractContextManager[Any]:
        """Drops recurrent weights of a layer, as long as the context lasts.

        One mask serves all time steps of a window. (DropConnect, Wan et al. 2013, on
        the recurrent weights: Merity et al. 2017, section 2.) Keras's variable gives
        the dropped weights, so that every loop over time finds them.

        Args:
          layer: built.
          seed: as of `DropoutSeed`.
          place: of the layer, from 1.
        """
        keep_prob = self._of_weights
        if seed is None or keep_prob == 1.0:
            return contextlib.nullcontext()
        weights = getattr(layer.cell, self._dropped_weight)
        mask = weight_mask(weights.shape, keep_prob, self._mask_seed(seed, place, True))
        return keras.StatelessScope([(weights, weights.value * mask)])

    def _mask_seed(
        self, seed: SeedAndStep, place: int, is_of_weights: bool = False
    ) -> tf.Tensor:
        """Seed of a mask, int64 [2], another one for every step and place.

        Those of weights, words among them, are below zero, the others are not.
        """
        number = seed.step * len(self._of_sequences) + place
        return tf.stack([seed.seed, -1 - number if is_of_weights else number])


def weight_mask(shape: tuple[int, ...], keep_prob: float, seed: tf.Tensor) -> tf.Tensor:
    """Mask of a matrix, float32 with the values 0 and 1 / keep_prob.

    A matrix has a hundred times as many elements as the mask of a sequence, and most
    of the time goes into drawing random bits. So each element gets 8 of them where
    these tell keep_prob exactly, else 16, which tell it to 1 / 2^17.

    Args:
      shape: of the matrix.
      keep_prob: in (0, 1).
      seed: int64 [2].
    """
    dtype = tf.int8 if (keep_prob * 2**8).is_integer() else tf.int16
    numbers = 2 ** (8 * dtype.size)
    kept = min(max(round(keep_prob * numbers), 1), numbers - 1)
    size, per_word = shape[0] * shape[1], 8 // dtype.size
    words = tf.random.stateless_uniform(
        [-(-size // per_word)], seed, minval=None, maxval=None, dtype=tf.uint64
    )
    draws = tf.reshape(tf.reshape(tf.bitcast(words, dtype), [-1])[:size], shape)
    return tf.cast(draws < dtype.min + kept, tf.float32) * (numbers / kept)
