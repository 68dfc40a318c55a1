"""The functions of an export: their names, and what each of them takes."""

import numpy as np
import tensorflow as tf

TEXTS, TEXT = tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.string)
IDS, LAST_IDS = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
INTEGER, SEED = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int64)
REAL, SWITCH = tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.bool)

_DRAWING = {"temperature": REAL, "top_k": INTEGER, "top_p": REAL}
_DRAWING |= {"seed": SEED, "allow_unknown": SWITCH}


def signatures(state: tf.TensorSpec) -> dict[str, list[tf.TensorSpec]]:
    """The arguments of every function, by its name and in order, each with its name.

    Args:
      state: what a state is.
    """
    arguments = {
        "generate": {"prompts": TEXTS, "num_tokens": INTEGER, **_DRAWING},
        "score": {"texts": TEXTS, "context": TEXT},
        "features": {"texts": TEXTS},
        "next_tokens": {"prompts": TEXTS, "k": INTEGER},
        "initial_state": {"n": INTEGER},
        "step": {"ids": IDS, "state": state},
        "begin": {"ids": IDS},
        "draw": {
            "last_ids": LAST_IDS,
            "state": state,
            "num_tokens": INTEGER,
            "position": INTEGER,
            **_DRAWING,
        },
        "split": {"texts": TEXTS},
        "encode": {"texts": TEXTS},
        "decode": {"ids": IDS},
        "vocabulary": {},
        "metadata": {},
    }
    return {
        name: [
            tf.TensorSpec(spec.shape, spec.dtype, name=argument)
            for argument, spec in arguments[name].items()
        ]
        for name in arguments
    }


# Their names, which do not depend on the width of a state.
FUNCTIONS = tuple(signatures(tf.TensorSpec([None, None])))
# The format of an export that has them first, of those that came later than format 1.
FIRST_FORMAT = {"features": 3}


def checks(
    num_tokens: tf.Tensor,
    position: tf.Tensor,
    temperature: tf.Tensor,
    top_k: tf.Tensor,
    top_p: tf.Tensor,
) -> list[tf.Operation]:
    """Assertions on the arguments of generate and draw; NaN breaks them too."""
    rules = [
        (num_tokens >= 1, "num_tokens must be at least 1:", num_tokens),
        (position >= 0, "position must be at least 0:", position),
        (
            tf.logical_and(temperature >= 0.0, temperature < np.inf),
            "temperature must be at least 0 and finite:",
            temperature,
        ),
        (top_k >= 0, "top_k must be at least 0 (0: all tokens):", top_k),
        (
            tf.logical_and(top_p > 0.0, top_p <= 1.0),
            "top_p must be greater than 0 and at most 1:",
            top_p,
        ),
    ]
    return [tf.debugging.Assert(holds, [text, value]) for holds, text, value in rules]
