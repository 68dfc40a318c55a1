"""Ids -> a `tf.data` stream of the windows of `ptb_lm.data.windows`."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ptb_lm.data.windows import count_windows, draw_pieces, read_pieces, read_window


def windows(
    ids: np.ndarray,
    batch_size: int,
    num_steps: int,
    place: Callable[[], tuple[int, int]] = lambda: (0, 0),
    seed: int | None = None,
) -> tf.data.Dataset:
    """The windows of an epoch as a prefetching `tf.data.Dataset`.

    Windows are read by number and not by a Python generator: TensorFlow never
    forgets a generator, and the first one sets malloc's M_MMAP_THRESHOLD to 128 KiB
    (GeneratorDatasetOp, ApplyPython311MemoryPatch), so that the system has to clear
    anew, each time, the buffers that oneDNN multiplies matrices in.

    Args:
      ids: int32 [tokens].
      batch_size: rows of a window.
      num_steps: columns of a window.
      place: tells, whenever the dataset is iterated anew, the epoch and the number
        of windows of it to skip.
      seed: of `draw_pieces`; None: windows in the text's order.
    """
    order = "sequential" if seed is None else "random"
    count = count_windows(len(ids), batch_size, num_steps, order)

    @functools.lru_cache(maxsize=1)
    def pieces(epoch):
        return draw_pieces(len(ids), num_steps, (seed, epoch))

    def read(epoch, window):
        if seed is None:
            return read_window(ids, batch_size, num_steps, window)
        begins = pieces(epoch)[window * batch_size :][:batch_size]
        return read_pieces(ids, begins, num_steps)

    def places(_):
        """The (epoch, window) that are left, asked for at each iteration."""
        epoch, start = tf.numpy_function(
            lambda: tuple(map(np.int64, place())), [], (tf.int64, tf.int64)
        )
        numbers = tf.data.Dataset.range(start, count)
        return numbers.map(lambda window: (epoch, window))

    def load(epoch, window):
        batch = tf.numpy_function(read, [epoch, window], (tf.int32, tf.int32))
        return tuple(tf.ensure_shape(ids, [batch_size, num_steps]) for ids in batch)

    epoch = tf.data.Dataset.range(1).flat_map(places)
    return epoch.map(load).prefetch(8)
