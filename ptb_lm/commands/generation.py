"""``--mode=sample`` and ``--mode=score``: a trained model at the terminal.

TensorFlow is imported once the options and the folder are found to be in order.
"""

import contextlib
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ptb_lm.config import Config
from ptb_lm.data.token_rules import TokenJoiner, TokenRules
from ptb_lm.data.vocabulary import UNKNOWN
from ptb_lm.errors import UserError
from ptb_lm.system import files
from ptb_lm.system.quiet_start import start_tensorflow

STANDARD_INPUT = "-"
TOKENS_PER_CALL = 64  # where nobody watches the tokens come
ROWS_PER_CALL = 32  # texts drawn at a time, likewise


def sample(config: Config, path: pathlib.Path) -> int:
    """Generates text from each prompt and returns the exit status.

    Args:
      config: the prompt, and how to draw.
      path: a run folder or a SavedModel.

    Raises:
      UserError: there is no model, or a prompt cannot be read by it.
    """
    generator = Generator(config, _open(config, path))
    with _quiet_end():
        if config.generation.prompt != STANDARD_INPUT:
            generator.run(config.generation.prompt)
        elif sys.stdin.isatty():
            _converse(generator)
        else:
            for line in _lines_of_stdin():
                generator.run(line.removesuffix("\n").removesuffix("\r"))
            if not generator.texts:
                generator.run("")  # no prompt at all: the start of a sentence
    return 0


def score(config: Config, path: pathlib.Path) -> int:
    """Shows the probability of each token of a text; returns the exit status.

    Args:
      config: the text, and how to show it.
      path: a run folder or a SavedModel.

    Raises:
      UserError: there is no model, or the text cannot be read by it or is empty.
    """
    text, name = None, "--text"
    if config.generation.text != STANDARD_INPUT:
        text = config.generation.text
    elif config.evaluation.text_file:
        name = config.evaluation.text_file
        text = files.read_text(files.expand_home(name))
    model = _open(config, path)
    if text is None:
        name = "standard input"
        if sys.stdin.isatty():
            print("Type a text; Ctrl-D on a line of its own ends it.", file=sys.stderr)
        text = "".join(_lines_of_stdin())
    texts = [text]
    if config.generation.each_line:
        texts = [f"{line}\n" for line in text.replace("\r\n", "\n").split("\n")]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise UserError(f"{name}: no words to score")
    reader = Reader(model)
    with _quiet_end():
        for text in texts:
            reader.check(text)
            _show_score(_score(model, text, config.generation.each_line), config)
    return 0


def _open(config: Config, path: pathlib.Path) -> Any:
    """The model of a run folder or a SavedModel."""
    if not os.path.isdir(path):
        raise UserError(f"--save_path={path}: no such folder")
    start_tensorflow()
    from ptb_lm.inference.opening import open_text_model

    return open_text_model(path, config.evaluation.weights)


class Reader:
    """Reads texts by a model's vocabulary and says what it lacks, once."""

    def __init__(self, model: Any):
        self._model = model
        self.tokens = [
            token.decode() for token in model.vocabulary()["tokens"].numpy().tolist()
        ]
        self._known = set(self.tokens)
        self._said = set()

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
            message = f"not in the vocabulary, read as {UNKNOWN}: {_listed(new)}"
            print(f"run_ptb.py: {message}", file=sys.stderr)
            self._said.update(new)

    def ids(self, text: str) -> np.ndarray:
        """Ids of a text, int32 [1, t]; checks it first."""
        import tensorflow as tf

        self.check(text)
        return self._model.encode(tf.constant([text]))["ids"].numpy()


def _listed(words: list[str]) -> str:
    """The words, the first ten of many; none can break the line."""
    shown = [word if word.isprintable() else ascii(word) for word in words[:10]]
    more = f" and {len(words) - 10:,} more" if len(words) > 10 else ""
    return ", ".join(shown) + more


class Generator:
    """Generates texts and writes them to standard output.

    Attributes:
      texts: number of texts written.
    """

    def __init__(self, config: Config, model: Any):
        self._options = config.generation
        self._seed = config.training.seed
        self._model = model
        self._reader = Reader(model)
        facts = json.loads(model.metadata()["json"].numpy())
        self._rules = TokenRules(facts["token_type"], facts.get("normalize", "none"))
        self.texts = 0

    def run(self, prompt: str) -> None:
        """Writes num_samples texts that go on from the prompt.

        Raises:
          UserError: the prompt has a word that the model cannot read.
        """
        ids = self._reader.ids(prompt)
        if not ids.size and self._rules.line_end not in self._reader.tokens:
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
        writer = Writer(self._rules)
        self._separate(index)
        writer.write(self._tokens(prompt_ids[0]))
        for ids in self._draw(prompt_ids, index, rows=1):
            writer.write(self._tokens(ids[0]))
        writer.end()

    def _write_batch(self, prompt, prompt_ids, index, rows) -> None:
        """Writes several texts, each when all of them are drawn."""
        drawn = np.concatenate(list(self._draw(prompt_ids, index, rows)), axis=1)
        for row, ids in enumerate(drawn, start=index):
            tokens = self._tokens(ids)
            writer = Writer(self._rules, capture=self._options.format == "json")
            if self._options.format == "text":
                self._separate(row)
            writer.write([*self._tokens(prompt_ids[0]), *tokens])
            writer.end()
            if self._options.format == "json":
                entry = {"prompt": prompt, "text": writer.text, "tokens": tokens}
                seed = self._seed + self.texts + row
                print(json.dumps(entry | {"seed": seed}, ensure_ascii=False))
        sys.stdout.flush()

    def _draw(self, prompt_ids, index, rows) -> Iterator[np.ndarray]:
        """Draws num_tokens in pieces, each int32 [rows, tokens]."""
        import tensorflow as tf

        options = self._options
        per_call = 1 if sys.stdout.isatty() else TOKENS_PER_CALL
        begin = self._model.begin(tf.repeat(prompt_ids, rows, axis=0))
        last_ids, state = begin["last_ids"], begin["state"]
        for position in range(0, options.num_tokens, per_call):
            drawn = self._model.draw(
                last_ids,
                state,
                num_tokens=min(per_call, options.num_tokens - position),
                position=position,
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                seed=self._seed + self.texts + index,
                allow_unknown=options.allow_unknown,
            )
            last_ids, state = drawn["ids"][:, -1], drawn["state"]
            yield drawn["ids"].numpy()

    def _tokens(self, ids: np.ndarray) -> list[str]:
        """Tokens of ids."""
        return [self._reader.tokens[index] for index in ids.tolist()]

    def _separate(self, index: int) -> None:
        """Puts an empty line between texts."""
        if self.texts + index:
            print()


class Writer:
    """Writes tokens as a person would, as they come."""

    def __init__(self, rules: TokenRules, capture: bool = False):
        self._joiner = TokenJoiner(rules)
        self._capture = capture
        self.text = ""

    def write(self, tokens: list[str]) -> None:
        """Writes tokens and shows them at once."""
        self._put(self._joiner.add(tokens))

    def end(self) -> None:
        """Ends the line that was begun."""
        if not self._joiner.at_line_start and not self._capture:
            self._put("\n")

    def _put(self, text: str) -> None:
        """Shows or keeps a piece of text."""
        if self._capture:
            self.text += text
        else:
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
            print(f"run_ptb.py: {error}", file=sys.stderr)


def _lines_of_stdin() -> Iterator[str]:
    """Lines of standard input as they come, with their ends.

    Raises:
      UserError: a line is not UTF-8.
    """
    for number, line in enumerate(sys.stdin.buffer, start=1):
        yield files.decode_text(line, "standard input", number)


def _score(model: Any, text: str, is_sentence: bool) -> dict[str, Any]:
    """Scores a text: tokens, nats (None where not counted), perplexity."""
    import tensorflow as tf

    context = "\n" if is_sentence else ""  # a sentence follows the end of a line
    scores = model.score(tf.constant([text]), context=context)
    tokens = [token.decode() for token in scores["tokens"].numpy()[0].tolist()]
    nats = -scores["log_probabilities"].numpy()[0].astype(np.float64)
    counted = scores["counted"].numpy()[0]
    return {
        "tokens": tokens,
        "nats": [float(n) if c else None for n, c in zip(nats, counted, strict=True)],
        "total": float(nats[counted].sum()),
        "counted": int(counted.sum()),
        "perplexity": float(scores["perplexities"].numpy()[0]),
    }


def _show_score(scored: dict[str, Any], config: Config) -> None:
    """Writes a scored text as a table, or as a JSON object on one line."""
    tokens, nats = scored["tokens"], scored["nats"]
    probabilities = [None if n is None else math.exp(-n) for n in nats]
    perplexity = scored["perplexity"]
    if config.generation.format == "json":
        is_finite = math.isfinite(perplexity)
        entry = {
            "tokens": tokens,
            "probabilities": probabilities,
            "nats": nats,
            "total_nats": scored["total"],
            "counted_tokens": scored["counted"],
            "perplexity": perplexity if is_finite else None,
        }
        print(json.dumps(entry, ensure_ascii=False), flush=True)
        return
    width = max(len("token"), *map(len, tokens))
    lines = [f"{'token':{width}}  probability      nats"]
    for token, probability, n in zip(tokens, probabilities, nats, strict=True):
        figures = f"{'-':>11}  {'-':>8}"
        if n is not None:
            figures = f"{probability:11.3g}  {n:8.4f}"
        lines.append(f"{token:{width}}  {figures}")
    print("\n".join(lines))
    if scored["counted"]:
        per_token = scored["total"] / scored["counted"]
        print(
            f"perplexity {perplexity:.3f} ({per_token:.5f} nats a token;"
            f" {scored['counted']:,} tokens counted)"
        )
    else:
        print("no token has another before it: no perplexity; see --each_line")
    sys.stdout.flush()


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """Ends without a traceback where the reader of our output has gone."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered has nowhere to go; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
