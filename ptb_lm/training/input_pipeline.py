"""Ids -> a `tf.data` stream of the windows of `ptb_lm.data.windows`."""

import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ptb_lm.data.windows import count_windows, draw_pieces, read_pieces, read_window


class WindowStream:
    """The windows of a text, epoch by epoch, from any place on.

    Windows are read by number and not by a Python generator: TensorFlow never
    forgets a generator, and the first one sets malloc's M_MMAP_THRESHOLD to 128 KiB
    (GeneratorDatasetOp, ApplyPython311MemoryPatch), so that the system has to clear
    anew, each time, the buffers that oneDNN multiplies matrices in.

    Attributes:
      count: windows of an epoch.
      dataset: the windows of the epoch that `start_at` was told, from the window on
        that it was told; at first, all of epoch 0. (inputs, targets), int32
        [batch_size, num_steps]. There is one dataset for all epochs, its place in a
        variable, because TensorFlow keeps much of every dataset that it makes.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        num_steps: int,
        seed: int | None = None,
    ):
        """Makes the dataset; nothing is read yet.

        Args:
          ids: int32 [tokens].
          batch_size: rows of a window.
          num_steps: columns of a window.
          seed: of `draw_pieces`; None: windows in the text's order.
        """
        self._ids, self._batch_size, self._num_steps = ids, batch_size, num_steps
        self._seed = seed
        order = "sequential" if seed is None else "random"
        self.count = count_windows(len(ids), batch_size, num_steps, order)
        self._begins = functools.lru_cache(maxsize=1)(self._draw)
        with tf.device("CPU:0"):  # where datasets are made
            self._place = tf.Variable(np.zeros(2, np.int64), trainable=False)
        # One element, so that the place is read each time the dataset is iterated.
        place = tf.data.Dataset.range(1).map(lambda _: tf.identity(self._place))
        self.dataset = place.flat_map(self._numbers).map(self._load).prefetch(8)

    def start_at(self, epoch: int, window: int) -> Iterator:
        """Goes to a place.

        Args:
          epoch: from 0; it matters where windows are drawn.
          window: the first that is read, from 0.

        Returns:
          Iterator of `dataset`. Those given before must no longer be used.
        """
        self._place.assign(np.array([epoch, window], np.int64))
        return iter(self.dataset)

    def read(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """One window, without the dataset: (inputs, targets)."""
        if self._seed is None:
            return read_window(self._ids, self._batch_size, self._num_steps, window)
        first = window * self._batch_size
        begins = self._begins(epoch)[first : first + self._batch_size]
        return read_pieces(self._ids, begins, self._num_steps)

    def _draw(self, epoch: int) -> np.ndarray:
        """Where the pieces of an epoch begin."""
        assert self._seed is not None
        return draw_pieces(len(self._ids), self._num_steps, (self._seed, epoch))

    def _numbers(self, place: tf.Tensor) -> tf.data.Dataset:
        """The (epoch, window) that are left of an epoch."""
        windows = tf.data.Dataset.range(place[1], self.count)
        return windows.map(lambda window: (place[0], window))

    def _load(self, epoch: tf.Tensor, window: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """A window in the graph, its shape known."""
        types = (tf.int32, tf.int32)
        batch = tf.numpy_function(self.read, [epoch, window], types)
        shape = [self._batch_size, self._num_steps]
        return tuple(tf.ensure_shape(ids, shape) for ids in batch)
