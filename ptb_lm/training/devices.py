"""Where the rows of a batch are computed: on one device, or shared out among several.

This is the seam between a training step and `tf.distribute`. The loop over the steps is
one; it asks its `Devices` for what depends on their number. With one device every
method here hands on what it is given, so that its graph has nothing of this.

With several, each holds a copy of all variables, the carried state of its own rows,
and takes the same step: the gradients are summed over all devices before their norm is
taken (data-parallel training, synchronous).
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.model.dropout import Rows
from ptb_lm.options import parse_devices
from ptb_lm.system.workers import Alone

# What a collective operation raises when another worker is gone.
OF_LOST_WORKERS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)


class Devices:
    """One device, which has every row of a batch: wherever TensorFlow puts it.

    Attributes:
      count: number of devices, on all machines.
      local: number of those of this process.
      workers: the processes that they belong to.
    """

    count = local = 1

    def __init__(self, workers: Alone | None = None):
        """Takes the workers; None: there is this process alone."""
        self.workers = workers or Alone()

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

    def can_spread(self, rows: tf.Tensor) -> bool:
        """Whether `spread` takes these rows."""
        return True

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

    def from_chief(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The chief's arrays; every worker gives some of the same names and shapes."""
        return arrays


class Replicas(Devices):
    """Several devices, by a strategy of `tf.distribute`."""

    def __init__(self, strategy: tf.distribute.Strategy, workers: Alone | None = None):
        """Takes the strategy, and the workers that share it."""
        super().__init__(workers)
        self._strategy = strategy
        self.count = strategy.num_replicas_in_sync
        self.local = self.count // self.workers.count
        # Made once: TensorFlow keeps every graph.
        sum_each = functools.partial(_sum_each, self)
        self._compiled_sums = tf.function(
            lambda given: self.run(sum_each, given), autograph=False
        )

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
        own = tf.slice(batch, [0, rows.first], [-1, rows.own])
        own.set_shape([batch.shape[0], rows.own])
        return own

    def rows(self, batch_size: int) -> Rows:
        """As `Devices.rows`."""
        count = self.rows_of(batch_size)
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return Rows(tf.convert_to_tensor(number) * count, count, batch_size)

    def can_spread(self, rows: tf.Tensor) -> bool:
        """As `Devices.can_spread`: what is summed must have one shape in all steps."""
        return rows.shape[0] is not None

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

    def join(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all workers in order, from those of this one [rows, size]."""
        if self.workers.count == 1:
            return rows
        count, size = rows.shape
        all_rows = np.zeros([count * self.workers.count, size], rows.dtype)
        all_rows[self.workers.index * count :][:count] = rows
        return self._sum_of_workers({"rows": all_rows})["rows"]

    def from_chief(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `Devices.from_chief`."""
        if self.workers.count == 1:
            return arrays
        if not self.workers.is_chief:
            arrays = {name: np.zeros_like(array) for name, array in arrays.items()}
        return self._sum_of_workers(arrays)

    def _sum_of_workers(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Sums over the workers; on each, the first device stands for all."""
        first = self.workers.index * self.local
        values = {name: tf.constant(array) for name, array in arrays.items()}
        zeros = tf.nest.map_structure(tf.zeros_like, values)
        given = self._strategy.experimental_distribute_values_from_function(
            lambda device: values if device.replica_id_in_sync_group == first else zeros
        )
        return {n: tensor.numpy() for n, tensor in self._compiled_sums(given).items()}

    def _local(self, value: Any) -> tuple[Any, ...]:
        """Of what every device has: that of each device of this process."""
        return self._strategy.experimental_local_results(value)


def _sum_each(devices: Devices, own: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Sums of what the devices have; an argument of a graph has no device yet."""
    return {name: devices.sum(tf.identity(own[name])) for name in own}


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
        replicas, rows = self._replicas, self._parts[0].shape[0]
        first = replicas.workers.index * replicas.local
        for number, part in enumerate(self._parts, start=first):
            part.assign(values[number * rows : (number + 1) * rows])

    def numpy(self) -> np.ndarray:
        """All rows; every worker must ask for them."""
        return self._replicas.join(np.concatenate([p.numpy() for p in self._parts]))


def open_devices(wanted: str, batch_size: int, workers: Alone) -> Devices:
    """The devices that --devices asks for; before TensorFlow's first operation.

    Args:
      wanted: the option.
      batch_size: rows of a batch, which all devices of all workers share.
      workers: the processes of the training.

    Raises:
      UserError: there are not so many, they cannot share the batch evenly, the
        workers have different numbers of them, or TensorFlow has started already.
    """
    try:
        names = _choose(wanted, workers)
    except RuntimeError as error:  # TensorFlow's, of devices that are in use
        raise UserError(
            f"--devices={wanted}: TensorFlow is at work in this process already; train"
            " in a process of its own"
        ) from error
    counts = workers.collect(len(names))
    if len(set(counts)) > 1:
        raise UserError(
            f"--devices={wanted}: every machine needs as many devices as the others;"
            f" they have {', '.join(map(str, counts))}"
        )
    count = sum(counts)
    if batch_size % count:
        raise UserError(
            f"--batch_size={batch_size}: {count} devices cannot share these rows"
            f" evenly; give a multiple of {count}"
        )
    if workers.count > 1:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif count > 1:
        strategy = tf.distribute.MirroredStrategy(names)
    else:
        return Devices()
    return Replicas(strategy, workers)


def _choose(wanted: str, workers: Alone) -> list[str]:
    """Makes TensorFlow see the devices of this machine; returns their names."""
    kind = parse_devices(wanted)
    gpus = tf.config.list_physical_devices("GPU")
    if kind == 1 and workers.count == 1:
        return ["CPU:0"]  # or a GPU: TensorFlow's own choice
    if kind == "gpu" and not gpus:
        raise UserError("--devices=gpu: TensorFlow finds no GPU on this machine")
    if kind == "cpu" or not gpus:
        return _choose_cpus(wanted, kind if isinstance(kind, int) else 1, workers)
    number = kind if isinstance(kind, int) else {"gpu": 1, "all": len(gpus)}[kind]
    if number > len(gpus):
        raise UserError(f"--devices={wanted}: this machine has {len(gpus)} GPUs")
    tf.config.set_visible_devices(gpus[:number], "GPU")
    return [f"GPU:{index}" for index in range(number)]


def _choose_cpus(wanted: str, number: int, workers: Alone) -> list[str]:
    """The CPU, as so many logical devices."""
    if number > 1 and workers.count > 1:
        raise UserError(
            f"--devices={wanted}: on several machines, each one's CPU is one device;"
            " leave the option out"
        )
    if tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    (cpu,) = tf.config.list_physical_devices("CPU")
    before = tf.config.get_logical_device_configuration(cpu) or [None]
    if number > 1 and len(before) != number:
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(number)]
        tf.config.set_logical_device_configuration(cpu, parts)
    return [f"CPU:{index}" for index in range(number)]
