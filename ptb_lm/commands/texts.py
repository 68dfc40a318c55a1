"""What commands on texts share: the model, and standard input."""

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ptb_lm.config import Config
from ptb_lm.data.byte_tokens import to_bytes, to_text
from ptb_lm.data.encoding import EncodedText, encode_tokens, stand_in
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.unknown import cut_off
from ptb_lm.data.vocabulary import UNKNOWN, Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.reports.layout import printable
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.resuming import run_path
from ptb_lm.system import files, program
from ptb_lm.system.quiet_start import start_tensorflow

TEXTS_AT_A_TIME = 512  # to split into tokens
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


def rules_of(model: Any) -> TokenRules:
    """How a model from `open_model` splits texts into tokens."""
    from ptb_lm.inference.opening import told_by

    facts = told_by(model)
    return TokenRules(facts["token_type"], facts.get("normalize", "none"))


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
        self._model, self.rules = model, rules_of(model)
        self.vocabulary = Vocabulary(
            [token.decode() for token in model.vocabulary()["tokens"].numpy().tolist()]
        )
        self._unknown = stand_in(unknown, self.vocabulary)
        self._said: set[str] = set()

    @property
    def leaves_out(self) -> bool:
        """Whether it leaves unknown tokens out, instead of reading ``<unk>``."""
        return self._unknown == "skip"

    def read(self, text: str) -> EncodedText:
        """Encodes a text whose last line is left open; raises as `encode`."""
        (tokens,) = self.split([text])
        return self.encode(tokens)

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """Tokens of texts as they stand there; the last line of each is left open."""
        import tensorflow as tf

        found: list[list[str]] = []
        for begin in range(0, len(texts), TEXTS_AT_A_TIME):
            batch = tf.constant(
                [to_bytes(text) for text in texts[begin : begin + TEXTS_AT_A_TIME]]
            )
            rows = self._model.split(batch)["tokens"].numpy().tolist()
            found += [[token.decode() for token in row if token] for row in rows]
        return found

    def encode(self, tokens: list[str]) -> EncodedText:
        """Encodes tokens, and names those that are unknown.

        Raises:
          UserError: there are such tokens, and --unknown=error.
        """
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


@dataclasses.dataclass(frozen=True)
class RawText:
    """A text that somebody gives, before it is known how it is to be read.

    Attributes:
      name: what to call it in an error.
      data: its bytes.
    """

    name: str
    data: bytes

    @classmethod
    def of_file(cls, name: str) -> "RawText":
        """Reads a file or a pipe; UserError as `files.read_bytes`."""
        path = files.expand_home(name)
        return cls(name, files.read_bytes(path, may_be_stream=True))

    @classmethod
    def of_stdin(cls) -> "RawText":
        """All of standard input; UserError where it cannot be read."""
        _ask_for_text()
        try:
            return cls("standard input", sys.stdin.buffer.read())
        except OSError as error:
            raise UserError(f"standard input: {error.strerror}") from error

    @classmethod
    def asked_for(cls, config: Config) -> "RawText | None":
        """The text of --text or --text_file; None: standard input.

        Raises:
          UserError: the file cannot be read, or is not UTF-8 and the model that
            --save_path names does not read bytes.
        """
        if config.generation.text != STANDARD_INPUT:
            return cls("--text", to_bytes(config.generation.text))
        if config.evaluation.text_file in ("", STANDARD_INPUT):
            return None
        given = cls.of_file(config.evaluation.text_file)
        flags = run_path(config) / "flags.txt"
        # Of an export alone it is not known yet.
        if (
            flags.is_file()
            and not TokenRules.of(RunFolder(flags.parent).config().data).are_bytes
        ):
            given.text(TokenRules())
        return given

    def text(self, rules: TokenRules) -> str:
        """The text as a model reads it; bytes need not be UTF-8.

        Raises:
          UserError: it is not UTF-8, and the tokens are not bytes.
        """
        if rules.are_bytes:
            return to_text(self.data)
        return files.decode_text(self.data, self.name)


def named_text(config: Config) -> tuple[str, str] | None:
    """The text of --text or --text_file, and what to call it; None: standard input.

    Raises:
      UserError: the file cannot be read.
    """
    if config.generation.text != STANDARD_INPUT:
        return "--text", config.generation.text
    return named_file(config)


def named_file(config: Config) -> tuple[str, str] | None:
    """The text of --text_file, as `named_text`."""
    name = config.evaluation.text_file
    if name in ("", STANDARD_INPUT):
        return None
    return name, files.read_text(files.expand_home(name), may_be_stream=True)


def stdin() -> tuple[str, str]:
    """All of standard input, and what to call it, as `text_of_stdin`."""
    return "standard input", text_of_stdin()


def text_of_stdin() -> str:
    """All of standard input; on a terminal, says how to end it.

    Raises:
      UserError: as `lines_of_stdin`.
    """
    _ask_for_text()
    return "".join(lines_of_stdin())


def _ask_for_text() -> None:
    """On a terminal, says how to end a text."""
    if sys.stdin.isatty():
        print("Type a text; Ctrl-D on a line of its own ends it.", file=sys.stderr)
