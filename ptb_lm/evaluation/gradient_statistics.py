"""How large the gradients of each weight are over the training text.

    RMS = sqrt(mean over segments of g^2)

with g the gradient of the mean loss of a segment of `ROWS` rows and some time steps,
read in the order of the text (Krause et al. 2017, section 4; the authors' code has 100
rows, too).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.data.windows import count_windows, rows_of
from ptb_lm.evaluation.learning import segment_gradients
from ptb_lm.evaluation.method import EMBEDDING, Scorable

ROWS = 100


def gradient_rms(
    model: Scorable,
    ids: np.ndarray,
    steps: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Root mean square of the gradient of each weight.

    Args:
      model: with the trained weights, which must be known.
      ids: the training text, int32 [tokens]; at least two tokens for each of `rows`
        rows, which are as many as fit, at most ROWS.
      steps: time steps of a segment.
      progress: called with the number of segments that are done, and of all.

    Returns:
      Float32 arrays, by the weight's name and of its shape.
    """
    weights = model.named_variables()
    squares = {name: tf.Variable(tf.zeros_like(w)) for name, w in weights.items()}

    @tf.function(autograph=False, reduce_retracing=True)
    def add(inputs: tf.Tensor, targets: tf.Tensor, state: Any) -> Any:
        _, _, state, gradients = segment_gradients(
            model, weights, inputs, targets, state
        )
        for name, gradient in gradients.dense.items():
            if gradient is None:
                gradient = tf.zeros_like(weights[name])
            if name == EMBEDDING:
                rows = gradients.rows
                gradient = tf.tensor_scatter_nd_add(
                    gradient, rows.indices[:, None], rows.values
                )
            squares[name].assign_add(tf.square(gradient))
        return state

    rows = max(min(ROWS, (len(ids) - 1) // (steps + 1)), 1)
    steps = min(steps, len(ids) // rows - 1)
    text, count = rows_of(ids, rows), count_windows(len(ids), rows, steps)
    state = model.initial_state(rows)
    for number in range(count):
        window = text[:, number * steps : (number + 1) * steps + 1]
        state = add(tf.constant(window[:, :-1]), tf.constant(window[:, 1:]), state)
        progress(number + 1, count)
    return {name: np.sqrt(square.numpy() / count) for name, square in squares.items()}
