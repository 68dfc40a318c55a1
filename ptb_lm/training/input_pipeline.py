"""The windows of `ptb_lm.data.windows` as a `tf.data` stream."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ptb_lm.data.windows import Windows


class WindowStream:
    """The windows of a text, epoch by epoch, from any place on.

    Windows are read by number and not by a Python generator: TensorFlow never
    forgets a generator, and the first one sets malloc's M_MMAP_THRESHOLD to 128 KiB
    (GeneratorDatasetOp, ApplyPython311MemoryPatch), so that the system has to clear
    anew, each time, the buffers that oneDNN multiplies matrices in.

    Attributes:
      dataset: the windows of the epoch that `start_at` was told, from the window on
        that it was told; at first, all of epoch 0. (inputs, targets), int32
        [batch_size, columns]. There is one dataset for all epochs, its place in a
        variable, because TensorFlow keeps much of every dataset that it makes.
    """

    def __init__(self, windows: Windows):
        """Makes the dataset; nothing is read yet."""
        self._windows = windows
        with tf.device("CPU:0"):  # where datasets are made
            self._place = tf.Variable(np.zeros(3, np.int64), trainable=False)
        self._go_to(0, 0)
        # One element, so that the place is read each time the dataset is iterated.
        place = tf.data.Dataset.range(1).map(lambda _: tf.identity(self._place))
        batches = place.flat_map(_numbers).map(self._load).prefetch(8)
        self.dataset = batches.with_options(_without_autotuning())

    def start_at(self, epoch: int, window: int) -> Iterator:
        """Goes to a place.

        Args:
          epoch: from 0; it matters where windows are drawn.
          window: the first that is read, from 0.

        Returns:
          Iterator of `dataset`. Those given before must no longer be used.
        """
        self._go_to(epoch, window)
        return iter(self.dataset)

    def _go_to(self, epoch: int, window: int) -> None:
        """Sets the epoch, its next window, and the number of its windows."""
        place = [epoch, window, self._windows.count(epoch)]
        self._place.assign(np.array(place, np.int64))

    def _load(self, epoch: tf.Tensor, window: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """A window in the graph, its shape as far as it is known."""
        types = (tf.int32, tf.int32)
        batch = tf.numpy_function(self._windows.read, [epoch, window], types)
        shape = [self._windows.batch_size, self._windows.num_steps]
        return tuple(tf.ensure_shape(ids, shape) for ids in batch)


def _without_autotuning() -> tf.data.Options:
    """Options of a dataset that TensorFlow does not tune while it is read.

    There is nothing to tune. And where an iterator is deleted, TensorFlow joins the
    thread that tunes. At times that thread misses the signal to end, and then sleeps
    up to a minute longer (tf.data's Model::OptimizeLoop is woken before the
    cancellation manager says that it is cancelled).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _numbers(place: tf.Tensor) -> tf.data.Dataset:
    """The (epoch, window) that are left of an epoch."""
    windows = tf.data.Dataset.range(place[1], place[2])
    return windows.map(lambda window: (place[0], window))
