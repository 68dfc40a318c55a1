"""What sample and score share: the model, and texts from standard input."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ptb_lm.config import Config
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import UNKNOWN
from ptb_lm.errors import UserError
from ptb_lm.runs.resuming import run_path
from ptb_lm.system import files, program
from ptb_lm.system.quiet_start import start_tensorflow

STANDARD_INPUT = "-"  # in place of a prompt or a text


def open_model(config: Config) -> Any:
    """The model of the run folder or SavedModel that --save_path names.

    Starts TensorFlow once the folder is there.

    Raises:
      UserError: as `open_text_model`.
    """
    path = run_path(config)
    if not os.path.isdir(path):
        raise UserError(f"--save_path={path}: no such folder")
    start_tensorflow()
    from ptb_lm.inference.opening import open_text_model

    return open_text_model(path, config.evaluation.weights)


class Reader:
    """Reads texts by a model's vocabulary, and names each unknown token once.

    Attributes:
      tokens: the vocabulary in id order.
      rules: how the model splits and joins texts.
    """

    def __init__(self, model: Any):
        """Asks a model, from `open_model`, for its rules and its vocabulary."""
        from ptb_lm.inference.opening import told_by

        self._model = model
        facts = told_by(model)
        self.rules = TokenRules(facts["token_type"], facts.get("normalize", "none"))
        self.tokens = [
            token.decode() for token in model.vocabulary()["tokens"].numpy().tolist()
        ]
        self._known = set(self.tokens)
        self._said: set[str] = set()

    def check(self, text: str) -> None:
        """Names a text's unknown tokens on standard error.

        Raises:
          UserError: there are some and the vocabulary has no ``<unk>``.
        """
        import tensorflow as tf

        words = self._model.split(tf.constant([text]))["tokens"].numpy()[0].tolist()
        words = dict.fromkeys(word.decode() for word in words)  # each once, in order
        seen = self._known | self._said
        new = [word for word in words if word not in seen]
        if new and UNKNOWN not in self._known:
            raise UserError(
                f"not in the model's vocabulary, which has no {UNKNOWN}: {_listed(new)}"
            )
        if new:
            program.say(f"not in the vocabulary, read as {UNKNOWN}: {_listed(new)}")
            self._said.update(new)

    def ids(self, text: str) -> np.ndarray:
        """Ids of a text whose last line is left open, int32 [t]."""
        import tensorflow as tf

        return self._model.encode(tf.constant([text]))["ids"].numpy()[0]


def _listed(words: list[str]) -> str:
    """The words, the first ten of many; none can break the line."""
    shown = [word if word.isprintable() else ascii(word) for word in words[:10]]
    more = f" and {len(words) - 10:,} more" if len(words) > 10 else ""
    return ", ".join(shown) + more


def lines_of_stdin() -> Iterator[str]:
    """Lines of standard input as they come, with their ends.

    Raises:
      UserError: a line is not UTF-8, or cannot be read.
    """
    try:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            yield files.decode_text(line, "standard input", number)
    except OSError as error:
        raise UserError(f"standard input: {error.strerror}") from error
