"""Dropout: what one mask covers, and where in the model masks are.

    kept = mask x / keep_prob,  P(mask = 1) = keep_prob

A mask is drawn from (seed, step, place), so that nothing random has to be saved and
a resumed run draws the masks of an uninterrupted one.

(Zaremba et al. 2014: dropout on what goes from layer to layer, and not from step to
step.)
"""

import abc

import tensorflow as tf

# Where masks are: on the embedding, on the output of each layer but the last, and on
# the output of the last.
PLACES = ("input", "between", "output")


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
        self, sequence: tf.Tensor, keep_prob: float, seed: tf.Tensor
    ) -> tf.Tensor:
        """Keeps what the mask keeps, scaled by 1 / keep_prob.

        Args:
          sequence: [time, batch, width].
          keep_prob: in (0, 1].
          seed: int64 [2]; the same seed gives the same mask.
        """
        shape = self.mask_shape(tf.shape(sequence))
        draws = tf.random.stateless_uniform(shape, seed, dtype=sequence.dtype)
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


def place_name(index: int, num_layers: int) -> str:
    """The place of a mask.

    Args:
      index: 0 for the embedding, n for the output of the n-th layer.
      num_layers: in all.
    """
    if index == 0:
        return "input"
    return "output" if index == num_layers else "between"
