"""``--dtype=auto``: which type this machine multiplies matrices in faster.

A run keeps what was chosen when it was started: its flags.txt names the type. Another
choice in its middle would be another run.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.model.precision import cast, check_dtype, matmul
from ptb_lm.model.sizes import layer_shapes
from ptb_lm.runs.folder import RunFolder
from ptb_lm.system.progress import Progress
from ptb_lm.system.workers import Alone

AUTO = "auto"
WORTHWHILE = 1.1  # times the speed of float32
MEASURED_SECONDS = 0.8
FEWEST_ROUNDS = 3
MOST_COLUMNS = 10_000  # of the softmax


def with_dtype(
    config: Config,
    folder: RunFolder,
    vocab_size: int,
    progress: Progress,
    workers: Alone | None = None,
) -> Config:
    """The configuration with a type in place of ``auto``.

    Args:
      config: of the command.
      folder: of the run; if it holds one, that run's type stands.
      vocab_size: number of tokens.
      progress: where the choice is said.
      workers: whose chief chooses for all; None: there is this process alone.

    Raises:
      UserError: the run's flags.txt is damaged.
    """
    workers = workers or Alone()
    if config.model.dtype != AUTO:
        return config
    if not workers.is_chief:
        dtype = AUTO
    elif folder.holds_run():
        dtype = folder.config().model.dtype
    else:
        with progress.phase("Measuring bfloat16"):
            dtype, reason = choose_dtype(config, vocab_size)
        progress.line(f"Matrix products in {dtype}: {reason}")
    model = dataclasses.replace(config.model, dtype=workers.collect(dtype)[0])
    return dataclasses.replace(config, model=model)


def choose_dtype(config: Config, vocab_size: int) -> tuple[str, str]:
    """What ``--dtype=auto`` stands for on this machine.

    It measures the products of a training step of the largest layer, and those of the
    softmax, for about a second.

    Args:
      config: the sizes of the network and of a window.
      vocab_size: number of tokens.

    Returns:
      float32 or bfloat16, and the reason in words.
    """
    try:
        check_dtype("bfloat16")
    except UserError:
        return "float32", "this machine multiplies no bfloat16"
    seconds = _median_seconds(
        {
            dtype: _products_of_a_step(config, vocab_size, dtype)
            for dtype in ("float32", "bfloat16")
        }
    )
    gain = seconds["float32"] / seconds["bfloat16"]
    reason = f"bfloat16 products take {1 / gain:.2f} of the time of float32 ones"
    return ("bfloat16" if gain > WORTHWHILE else "float32"), reason


def _products_of_a_step(
    config: Config, vocab_size: int, dtype: str
) -> Callable[[], tf.Tensor]:
    """A function that multiplies as a training step does, forward."""
    training, rounded = config.training, None if dtype == "float32" else dtype
    width, units = max(layer_shapes(config.model), key=sum)
    rows = training.batch_size * training.num_steps
    inputs, state = tf.ones([rows, width]), tf.ones([training.batch_size, units])
    outputs = tf.ones([rows, units])
    kernel, recurrent, softmax = (
        cast(tf.ones([depth, columns]), rounded)
        for depth, columns in (
            (width, 4 * units),
            (units, 4 * units),
            (units, min(vocab_size, MOST_COLUMNS)),
        )
    )

    @tf.function(autograph=False)
    def multiply() -> tf.Tensor:
        products = [matmul(inputs, kernel), matmul(outputs, softmax)]
        # Each product with the state waits for the one before it.
        carried = state
        for _ in range(training.num_steps):
            carried = matmul(carried, recurrent)[:, :units]
        return tf.add_n([tf.reduce_sum(each) for each in (*products, carried)])

    return multiply


def _median_seconds(
    functions: dict[str, Callable[[], tf.Tensor]],
) -> dict[str, float]:
    """Median seconds of a call of each; they take turns."""
    for function in functions.values():
        function().numpy()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    begin = time.perf_counter()
    rounds = 0
    while rounds < FEWEST_ROUNDS or time.perf_counter() - begin < MEASURED_SECONDS:
        rounds += 1
        for name, function in functions.items():
            start = time.perf_counter()
            function().numpy()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
