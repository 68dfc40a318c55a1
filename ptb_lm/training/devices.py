"""Where the rows of a batch are computed: on one device, or shared out among several.

This is the seam between a training step and `tf.distribute`. The loop over the steps is
one; it asks its `Devices` for what depends on their number. With one device every
method here hands on what it is given, so that its graph has nothing of this.

With several, each holds a copy of all variables, the carried state of its own rows,
and takes the same step: the gradients are summed over all devices before their norm is
taken (data-parallel training, synchronous).
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.model.dropout import Rows


class Devices:
    """One device, which has every row of a batch: wherever TensorFlow puts it.

    Attributes:
      count: number of devices, on all machines.
    """

    count = 1

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """While entered, variables are made that every device has a copy of."""
        return contextlib.nullcontext()

    def run(self, step: Callable[..., Any], *arguments: tf.Tensor) -> Any:
        """Has every device do its part of a step; a part of a graph.

        Args:
          step: called for each device; its results must be the same on all.
          *arguments: of the step.

        Returns:
          What the step returns.
        """
        return step(*arguments)

    def rows_of(self, batch_size: int) -> int:
        """How many rows of a batch one device has."""
        return batch_size

    def state_variable(self, zeros: tf.Tensor) -> tf.Variable:
        """A variable [rows, size] that is not the same on all devices."""
        return tf.Variable(zeros, trainable=False)

    def whole(self, variable: tf.Variable) -> Any:
        """The rows of all devices, in order, of what `state_variable` made.

        Returns:
          Something [batch, size] with `shape`, `dtype`, `assign` and `numpy`.
        """
        return variable

    def own_rows(self, batch: tf.Tensor) -> tf.Tensor:
        """The rows of [time, batch] that this device has; inside a step."""
        return batch

    def rows(self, batch_size: int) -> Rows | None:
        """Which rows of a batch these are; None: all."""
        return None

    def spread(self, rows: tf.Tensor) -> tf.Tensor:
        """This device's rows at their places in a batch, the others zero; in a step.

        Args:
          rows: [time, rows, width].

        Returns:
          [time, batch, width].
        """
        return rows

    def sum(self, tensors: Any) -> Any:
        """Sums over all devices, of a structure of tensors; inside a step."""
        return tensors


class Replicas(Devices):
    """Several devices, by a strategy of `tf.distribute`."""

    def __init__(self, strategy: tf.distribute.Strategy):
        """Takes the strategy."""
        self._strategy = strategy
        self.count = strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """As `Devices.scope`."""
        return self._strategy.scope()

    @tf.autograph.experimental.do_not_convert
    def run(self, step: Callable[..., Any], *arguments: tf.Tensor) -> Any:
        """As `Devices.run`."""
        results = self._strategy.run(step, args=arguments)
        return tf.nest.map_structure(lambda result: self._local(result)[0], results)

    def rows_of(self, batch_size: int) -> int:
        """As `Devices.rows_of`."""
        return batch_size // self.count

    def state_variable(self, zeros: tf.Tensor) -> tf.Variable:
        """As `Devices.state_variable`: each device writes its own, nobody the others'.

        (ON_READ would sum them up where all are read, which nothing does here.)
        """
        return tf.Variable(
            zeros,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.NONE,
        )

    def whole(self, variable: tf.Variable) -> "WholeState":
        """As `Devices.whole`."""
        return WholeState(self, self._local(variable))

    def own_rows(self, batch: tf.Tensor) -> tf.Tensor:
        """As `Devices.own_rows`."""
        rows = self.rows(batch.shape[1])
        own = tf.slice(batch, [0, rows.first], [-1, rows.count])
        own.set_shape([batch.shape[0], rows.count])
        return own

    def rows(self, batch_size: int) -> Rows:
        """As `Devices.rows`."""
        count = self.rows_of(batch_size)
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return Rows(tf.convert_to_tensor(number) * count, count, batch_size)

    def spread(self, rows: tf.Tensor) -> tf.Tensor:
        """As `Devices.spread`."""
        batch_size = rows.shape[1] * self.count
        first, count, _ = self.rows(batch_size)
        around = tf.stack([first, batch_size - count - first])
        spread = tf.pad(rows, [[0, 0], around, [0, 0]])
        spread.set_shape([rows.shape[0], batch_size, rows.shape[2]])
        return spread

    def sum(self, tensors: Any) -> Any:
        """As `Devices.sum`."""
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)

    def first_device(self) -> int:
        """Number of the first device of this process among all."""
        return 0

    def join(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all processes in order, from those of this one."""
        return rows

    def _local(self, value: Any) -> tuple[Any, ...]:
        """Of what every device has: that of each device of this process."""
        return self._strategy.experimental_local_results(value)


class WholeState:
    """The carried state of all rows, which the devices have between them.

    Attributes:
      shape: of all, [batch, size].
      dtype: of the elements.
    """

    def __init__(self, replicas: Replicas, parts: tuple[tf.Variable, ...]):
        """Takes the variable of each device of this process, [rows, size]."""
        self._replicas, self._parts = replicas, parts
        rows, size = parts[0].shape
        self.shape = tf.TensorShape([rows * replicas.count, size])
        self.dtype = parts[0].dtype

    def assign(self, values: Any) -> None:
        """Gives every device of this process its rows of [batch, size]."""
        rows, first = self._parts[0].shape[0], self._replicas.first_device()
        for number, part in enumerate(self._parts, start=first):
            part.assign(values[number * rows : (number + 1) * rows])

    def numpy(self) -> np.ndarray:
        """All rows; every process must ask for them."""
        return self._replicas.join(np.concatenate([p.numpy() for p in self._parts]))
