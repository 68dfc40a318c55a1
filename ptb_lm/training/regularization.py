"""Penalties on what the last layer says, in addition to the loss.

    AR = ar mean((m h_t)^2)        activation regularization
    TAR = tar mean((h_t - h_{t+1})^2)        the same of changes in time, slowness

with h the outputs of the last layer and m their dropout mask (Merity, McCann and Socher
2017, "Revisiting activation regularization"; Merity et al. 2017, section 4.6). The
papers write L2 norms; the authors' code takes means of squares over all time steps,
streams and units, and its constants (2 and 1) are meant for these.
"""

import tensorflow as tf

from ptb_lm.config import TrainingConfig
from ptb_lm.model.language_model import Outputs


def activation_penalty(outputs: Outputs, training: TrainingConfig) -> tf.Tensor | None:
    """What is added to the mean loss of a token, float32 scalar; None: nothing is.

    Args:
      outputs: of a window of at least two time steps.
      training: --ar and --tar.
    """
    penalties = []
    if training.ar:
        penalties.append(training.ar * tf.reduce_mean(tf.square(outputs.dropped)))
    if training.tar:
        changes = outputs.raw[1:] - outputs.raw[:-1]
        penalties.append(training.tar * tf.reduce_mean(tf.square(changes)))
    return tf.add_n(penalties) if penalties else None
