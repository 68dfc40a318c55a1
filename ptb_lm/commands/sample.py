"""``--mode=sample``: a trained model generates texts.

It imports TensorFlow after it has checked the options and the folder.
"""

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ptb_lm.commands.mode import TRAINED_RUN, Mode
from ptb_lm.commands.texts import (
    STANDARD_INPUT,
    Reader,
    lines_of_stdin,
    open_model,
)
from ptb_lm.commands.wrapping import LineBreaker
from ptb_lm.config import Config
from ptb_lm.data.token_rules import TokenJoiner, TokenRules
from ptb_lm.errors import UserError
from ptb_lm.system import program

TOKENS_PER_CALL = 64  # where nobody watches the tokens come
ROWS_PER_CALL = 32  # texts drawn at a time, likewise
# Of all bytes a model may draw any; these tell a terminal to do something.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
REPLACEMENT = "\ufffd"


def run(config: Config) -> int:
    """Generates text from each prompt and returns the exit status.

    Raises:
      UserError: there is no model, or a prompt cannot be read by it.
    """
    generator = Generator(config, open_model(config))
    if config.generation.prompt != STANDARD_INPUT:
        generator.run(config.generation.prompt)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        _converse(generator)
    else:
        if sys.stdin.isatty():
            print("Type a prompt on each line; Ctrl-D ends.", file=sys.stderr)
        for line in lines_of_stdin():
            generator.run(line.removesuffix("\n").removesuffix("\r"))
        if not generator.texts:
            generator.run("")  # no prompt at all: the start of a sentence
    return 0


class Generator:
    """Generates texts and writes them to standard output.

    Attributes:
      texts: number of texts written.
    """

    def __init__(self, config: Config, model: Any):
        """Takes how to draw, and a model from `open_model`."""
        self._options = config.generation
        self._seed = config.training.seed
        self._model = model
        self._reader = Reader(model, config.generation.unknown)
        self.texts = 0

    def run(self, prompt: str) -> None:
        """Writes num_samples texts that continue the prompt.

        Raises:
          UserError: the prompt has a word that the model cannot read.
        """
        reader = self._reader
        ids = reader.read(prompt).ids
        if not ids.size and reader.rules.line_end not in reader.vocabulary:
            raise UserError(
                "an empty prompt, and the vocabulary has no line end to start from"
            )
        count = self._options.num_samples
        is_watched = count == 1 or sys.stdout.isatty()
        as_text = self._options.format == "text"
        rows = 1 if as_text and is_watched else ROWS_PER_CALL
        for begin in range(0, count, rows):
            batch = min(rows, count - begin)
            if as_text and batch == 1:
                self._stream(ids, begin)
            else:
                self._write_batch(prompt, ids, begin, batch)
        self.texts += count

    def _stream(self, prompt_ids: np.ndarray, index: int) -> None:
        """Writes a text, each token as it is drawn."""
        writer = Writer(self._reader.rules)
        self._separate(index)
        writer.write(self._tokens(prompt_ids))
        for ids in self._draw(prompt_ids, index, rows=1):
            writer.write(self._tokens(ids[0]))
        writer.end()

    def _write_batch(
        self, prompt: str, prompt_ids: np.ndarray, index: int, rows: int
    ) -> None:
        """Writes several texts, each when all of them are drawn."""
        drawn = np.concatenate(list(self._draw(prompt_ids, index, rows)), axis=1)
        for row, ids in enumerate(drawn, start=index):
            tokens = self._tokens(ids)
            whole = [*self._tokens(prompt_ids), *tokens]
            if self._options.format == "json":
                text = self._reader.rules.join(whole)
                entry = {"prompt": prompt, "text": text, "tokens": tokens}
                seed = self._seed + self.texts + row
                print(json.dumps(entry | {"seed": seed}, ensure_ascii=False))
            else:
                self._separate(row)
                writer = Writer(self._reader.rules)
                writer.write(whole)
                writer.end()
        sys.stdout.flush()

    def _draw(
        self, prompt_ids: np.ndarray, index: int, rows: int
    ) -> Iterator[np.ndarray]:
        """Draws num_tokens in pieces, each int32 [rows, tokens]."""
        import tensorflow as tf

        options = self._options
        per_call = 1 if sys.stdout.isatty() else TOKENS_PER_CALL
        begin = self._model.begin(tf.repeat(prompt_ids[None], rows, axis=0))
        last_ids, state = begin["last_ids"], begin["state"]
        for position in range(0, options.num_tokens, per_call):
            try:
                drawn = self._model.draw(
                    last_ids,
                    state,
                    num_tokens=min(per_call, options.num_tokens - position),
                    position=position,
                    temperature=options.temperature,
                    top_k=options.num_likeliest,
                    top_p=options.top_p,
                    seed=self._seed + self.texts + index,
                    allow_unknown=options.unknown == "draw",
                )
            # The options are checked, so that it can only be what the model says: with
            # NaN among the probabilities no token is found.
            except tf.errors.InvalidArgumentError as error:
                raise UserError(
                    "the model's probabilities are not finite: its weights are too"
                    " large"
                ) from error
            last_ids, state = drawn["ids"][:, -1], drawn["state"]
            yield drawn["ids"].numpy()

    def _tokens(self, ids: np.ndarray) -> list[str]:
        """Tokens of ids."""
        return self._reader.vocabulary.decode(ids.tolist())

    def _separate(self, index: int) -> None:
        """Puts an empty line between texts."""
        if self.texts + index:
            print()


class Writer:
    """Writes tokens to standard output as a person would, as they come.

    On a terminal it breaks long lines between words. Elsewhere a line ends only where a
    token ends it, so that the output is the text itself.
    """

    def __init__(self, rules: TokenRules):
        """Begins a text."""
        self._joiner = TokenJoiner(rules)
        self._breaker = None
        if sys.stdout.isatty():
            # At the last column, some terminals begin a line of their own.
            self._breaker = LineBreaker(shutil.get_terminal_size().columns - 1)
        self._tokens_are_words, self._are_bytes = bool(rules.separator), rules.are_bytes

    def write(self, tokens: list[str]) -> None:
        """Writes tokens and shows them at once, characters when their word ends."""
        text = self._shown(self._joiner.add(tokens))
        text += self._breaker.end() if self._breaker and self._tokens_are_words else ""
        self._show(text)

    def end(self) -> None:
        """Ends the line that was begun."""
        rest = self._shown(self._joiner.end())
        rest += self._breaker.end() if self._breaker else ""
        self._show(rest if self._joiner.at_line_start else f"{rest}\n")

    def _shown(self, text: str) -> str:
        """A piece of text as a terminal may have it; elsewhere, as it is."""
        if not self._breaker:
            return text
        if self._are_bytes:
            text = _CONTROLS.sub(REPLACEMENT, text)
        return self._breaker.add(text)

    @staticmethod
    def _show(text: str) -> None:
        """Writes a piece of text at once."""
        sys.stdout.write(text)
        sys.stdout.flush()


def _converse(generator: Generator) -> None:
    """Asks for prompts until Ctrl-D; Ctrl-C ends a text, or the conversation."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives input() its line editing and history
    print("Type the beginning of a text; Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            prompt = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        try:
            generator.run(prompt)
        except KeyboardInterrupt:
            print()
        except UserError as error:  # the next prompt may be better
            program.say(error)


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "seed",
        "prompt",
        "num_tokens",
        "num_samples",
        "temperature",
        "top_k",
        "top_p",
        "unknown",
        "format",
    ),
    replaces={"save_path": ("model", "data_path")},
)
