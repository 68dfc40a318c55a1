"""A model small enough to be computed in float64 by `reference`, and its input."""

import numpy as np

from ptb_lm.config import Config

VOCAB, HIDDEN, BATCH, STEPS = 23, 7, 4, 5


def make_config(**values):
    """The options of that model; the weights are large, so that gates move."""
    defaults = {
        "hidden_size": HIDDEN,
        "num_layers": 2,
        "batch_size": BATCH,
        "num_steps": STEPS,
        "init_scale": 0.5,
        "max_grad_norm": 0.8,
        "seed": 3,
    }
    return Config.from_values(defaults | values)


def reference_parameters(variables):
    """The project's variables under the reference's names, in float64."""
    params = {}
    for name, variable in variables.items():
        layer, _, part = name.partition("/")
        key = {"softmax_kernel": "softmax_w", "softmax_bias": "softmax_b"}.get(name)
        if part:
            key = f"{part}_{layer.rpartition('_')[2]}"
        params[key or name] = variable.numpy().astype(np.float64)
    return params


def random_windows(count, seed=0):
    """Gives windows of a random text: (ids, targets), int32 [BATCH, STEPS] each."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCAB, size=(BATCH, count * STEPS + 1), dtype=np.int32)
    for start in range(0, count * STEPS, STEPS):
        yield ids[:, start : start + STEPS], ids[:, start + 1 : start + STEPS + 1]
