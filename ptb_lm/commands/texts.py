"""What commands on texts share: the model, and standard input."""

import os
import sys
from collections.abc import Iterator
from typing import Any

from ptb_lm.config import Config
from ptb_lm.data.encoding import EncodedText, encode_tokens, stand_in
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.unknown import cut_off
from ptb_lm.data.vocabulary import UNKNOWN, Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.reports.layout import printable
from ptb_lm.runs.resuming import run_path
from ptb_lm.system import files, program
from ptb_lm.system.quiet_start import start_tensorflow

STANDARD_INPUT = "-"  # in place of a prompt, a text or a file


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
    """Encodes texts by a model's vocabulary, and names each unknown token once.

    Attributes:
      vocabulary: the model's.
      rules: how the model splits and joins texts.
    """

    def __init__(self, model: Any, unknown: str):
        """Asks a model for its rules and its vocabulary.

        Args:
          model: from `open_model`.
          unknown: --unknown.
        """
        from ptb_lm.inference.opening import told_by

        self._model = model
        facts = told_by(model)
        self.rules = TokenRules(facts["token_type"], facts.get("normalize", "none"))
        self.vocabulary = Vocabulary(
            [token.decode() for token in model.vocabulary()["tokens"].numpy().tolist()]
        )
        self._unknown = stand_in(unknown, self.vocabulary)
        self._said: set[str] = set()

    def read(self, text: str) -> EncodedText:
        """Encodes a text whose last line is left open.

        Raises:
          UserError: it has unknown tokens, and --unknown=error.
        """
        import tensorflow as tf

        found = self._model.split(tf.constant([text]))["tokens"].numpy()[0].tolist()
        tokens = [token.decode() for token in found]
        lacking = [token for token in tokens if token not in self.vocabulary]
        if lacking:
            self._tell(list(dict.fromkeys(lacking)))  # each once, in order
        return encode_tokens(tokens, self.vocabulary, self._unknown)

    def _tell(self, tokens: list[str]) -> None:
        """Names the unknown tokens of a text that were not named yet."""
        if self._unknown == "error":
            raise UserError(f"not in the model's vocabulary: {_listed(tokens)}")
        new = [token for token in tokens if token not in self._said]
        what = "left out" if self._unknown == "skip" else f"read as {UNKNOWN}"
        if new:
            program.say(f"not in the vocabulary, {what}: {_listed(new)}")
            self._said.update(new)


def _listed(words: list[str]) -> str:
    """The tokens, the first ten of many; each can be seen, and none breaks the line."""
    shown = [printable(cut_off(word)) for word in words[:10]]
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


def text_of_stdin() -> str:
    """All of standard input; on a terminal, says how to end it.

    Raises:
      UserError: as `lines_of_stdin`.
    """
    if sys.stdin.isatty():
        print("Type a text; Ctrl-D on a line of its own ends it.", file=sys.stderr)
    return "".join(lines_of_stdin())
