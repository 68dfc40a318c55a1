"""LSTM language models in TensorFlow 2 and Keras 3."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptb_lm.inference.loaded_run import LoadedRun

__version__ = "0.2.0.dev0"


def load(path: str | os.PathLike[str], weights: str = "best") -> "LoadedRun":
    """Opens a trained run; only this imports TensorFlow.

    Args:
      path: folder of the run.
      weights: "best" (of the lowest valid perplexity) or "last" (of the newest
        checkpoint).

    Returns:
      The run, with its methods generate, score, predict, features and evaluate, and its
      config, vocabulary, weights and results.

    Raises:
      UserError: there is no run, or it was not trained yet.
    """
    if weights not in ("best", "last"):
        raise ValueError(f"weights is {weights!r}, not best or last")
    from ptb_lm.inference.loaded_run import LoadedRun
    from ptb_lm.system.files import expand_home

    return LoadedRun(expand_home(path), weights)
