"""Gradients: their global norm, clipping, and those of a table's rows.

Clipping takes one pass for the norm. Its factor is applied by the optimizer, inside
the update, rather than to a copy of the gradients.
"""

from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices


def deduplicate(ids: tf.Tensor, rows: tf.Tensor, table_rows: int) -> tf.IndexedSlices:
    """Gradient of a table of which the rows `ids` were read.

    Args:
      ids: int32 [n], with repetitions.
      rows: float32 [n, width], the gradient of each row that was read.
      table_rows: number of rows of the table.

    Returns:
      The same gradient with every id once, its rows added up.
    """
    unique, position = tf.unique(ids)
    summed = tf.math.unsorted_segment_sum(rows, position, tf.size(unique))
    shape = tf.constant([table_rows, rows.shape[1]])
    return tf.IndexedSlices(summed, unique, shape)


def values_of(gradient: Gradient) -> tf.Tensor:
    """The numbers of a gradient: of slices, those of the rows that they have."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def global_norm(gradients: Sequence[Gradient]) -> tf.Tensor:
    """Euclidean norm of all gradients together; slices must have unique ids."""
    squares = [tf.nn.l2_loss(values_of(gradient)) for gradient in gradients]
    return tf.sqrt(2.0 * tf.add_n(squares))


def clip_factor(norm: tf.Tensor, max_norm: float) -> tf.Tensor:
    """The factor that scales gradients of this global norm down to max_norm."""
    return max_norm / tf.maximum(norm, max_norm)
