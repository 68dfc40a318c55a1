"""What the network knows after each token of many texts, batch by batch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ptb_lm.errors import UserError

BATCH_TOKENS = 4096  # of a batch, those that fill its shorter texts up included


def features_of(
    model: Any, texts: Sequence[str], lengths: Sequence[int]
) -> Iterator[np.ndarray]:
    """The features of each text, in order.

    Args:
      model: a `TextModel`, or the like of it that TensorFlow restored.
      texts: without tokens that are left out.
      lengths: number of tokens of each.

    Yields:
      float32 [tokens, width].

    Raises:
      UserError: the model is an export of a format without features, or its states
        are not finite.
    """
    if not hasattr(model, "features"):
        raise UserError(
            "the export is of a format that has no features; --mode=export writes it"
            " anew"
        )
    begin = 0
    while begin < len(texts):
        end, longest = begin + 1, lengths[begin]
        while end < len(texts):
            longest = max(longest, lengths[end])
            if longest * (end + 1 - begin) > BATCH_TOKENS:
                break
            end += 1
        found = model.features(tf.constant(texts[begin:end]))["features"].numpy()
        if not np.isfinite(found).all():
            raise UserError(
                "the model's states are not finite: its weights are too large"
            )
        for rows, length in zip(found, lengths[begin:end], strict=True):
            yield rows[:length]
        begin = end


def mean_of(rows: np.ndarray) -> np.ndarray:
    """Mean of the rows [tokens, width], float32 [width]; NaN where there are none."""
    if not len(rows):
        return np.full(rows.shape[1], np.nan, np.float32)
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32)
