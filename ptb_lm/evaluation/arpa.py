r"""n-gram models in the ARPA format, which SRILM, KenLM and others read and write.

    \data\
    ngram 1=3

    \1-grams:
    -0.9   the   -0.3
    ...
    \end\

Each line has the log of a probability to base 10, the tokens, and the log of the
backoff weight, which may be absent. <s> begins a sentence, </s> ends it: both are
``<eos>`` here. (SRILM's manual page ngram-format(5).)
"""

import math
import pathlib
from collections.abc import Iterator
from typing import TextIO

import numpy as np

from ptb_lm.data.vocabulary import END_OF_SENTENCE, UNKNOWN, Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.evaluation.ngrams import NGrams, Table
from ptb_lm.system import files

BEGIN, END = "<s>", "</s>"
_LOG10 = math.log(10)
_NEVER = -99.0  # the format's log of a probability of zero


def write_arpa(model: NGrams, vocabulary: Vocabulary, path: pathlib.Path) -> None:
    """Writes a model as an ARPA file.

    Args:
      model: the model.
      vocabulary: its tokens.
      path: of the file.

    Raises:
      UserError: a token has white space, which the format cannot hold, or the file
        cannot be written.
    """
    spaced = [token for token in vocabulary.tokens if token.split() != [token]]
    if spaced:
        raise UserError(
            f"ARPA files cannot hold the token {spaced[0]!r}; they are for words"
        )
    files.write_text(path, "".join(_lines(model, list(vocabulary.tokens))))


def _lines(model: NGrams, tokens: list[str]) -> Iterator[str]:
    """The lines of the file."""
    beginnings = [BEGIN if token == END_OF_SENTENCE else token for token in tokens]
    endings = [END if token == END_OF_SENTENCE else token for token in tokens]
    sizes = [len(table.keys) for table in model.tables]
    sizes[0] += model.line_end is not None
    yield "\\data\\\n"
    yield from (f"ngram {order}={size}\n" for order, size in enumerate(sizes, 1))
    texts: list[str] = []
    for order, table in enumerate(model.tables, 1):
        yield f"\n\\{order}-grams:\n"
        parents, last = divmod(table.keys, model.vocab_size)
        before = [f"{texts[row]} " for row in parents.tolist()] if order > 1 else None
        ends = last.tolist()
        # As the beginning of a longer one; only <s> differs from the line itself.
        texts = _joined(before, ends, beginnings)
        logs = (table.log_probs / _LOG10).tolist()
        backoffs = (table.log_backoffs / _LOG10).tolist()
        is_context = order < model.order
        for row, text in enumerate(_joined(before, ends, endings)):
            ends_line = ends[row] == model.line_end
            if ends_line and order == 1:
                yield f"{_NEVER:g}\t{BEGIN}\t{backoffs[row]:.7g}\n"
            backoff = f"\t{backoffs[row]:.7g}" if is_context and not ends_line else ""
            yield f"{max(logs[row], _NEVER):.7g}\t{text}{backoff}\n"
    yield "\n\\end\\\n"


def _joined(before: list[str] | None, ends: list[int], tokens: list[str]) -> list[str]:
    """Texts of n-grams: what is before the last token, and that."""
    if before is None:
        return [tokens[end] for end in ends]
    return [text + tokens[end] for text, end in zip(before, ends, strict=True)]


def read_arpa(path: pathlib.Path, vocabulary: Vocabulary) -> NGrams:
    """Reads an ARPA file as a model over a vocabulary.

    n-grams with tokens that the vocabulary lacks are left out. Tokens that the file
    lacks have the probability of its ``<unk>``.

    Args:
      path: of the file, UTF-8.
      vocabulary: the tokens.

    Raises:
      UserError: the file is damaged, or lacks tokens and ``<unk>``.
    """
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    line_end = ids.get(END_OF_SENTENCE)
    if line_end is not None:
        ids |= {BEGIN: line_end, END: line_end}
    ids.setdefault("<UNK>", ids.get(UNKNOWN, -1))
    tables: list[Table] = []
    try:
        with path.open(encoding="utf-8") as file:
            for order, size in enumerate(_sizes(file), 1):
                section = _read_section(file, order, size, ids)
                if order == 1:
                    tables.append(_unigrams(*section, vocabulary, line_end))
                else:
                    tables.append(_table(*section, tables, len(vocabulary)))
    except OSError as error:
        raise UserError(f"{path}: {files.reason(error)}") from error
    except (ValueError, LookupError) as error:
        raise UserError(f"{path}: not an ARPA file: {error}") from error
    return NGrams(tables, len(vocabulary), line_end)


def _sizes(file: TextIO) -> list[int]:
    """Numbers of n-grams, from the head of the file."""
    for line in file:
        if line.strip() == "\\data\\":
            break
    else:
        raise ValueError("no line \\data\\")
    sizes: list[int] = []
    for line in file:
        text = line.strip()
        if not text and sizes:
            return sizes
        if text:
            order, size = text.removeprefix("ngram ").split("=")
            if int(order) != len(sizes) + 1:
                raise ValueError(f"{text!r} is out of order")
            sizes.append(int(size))
    raise ValueError("it ends within its head")


def _read_section(
    file: TextIO, order: int, size: int, ids: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, logs and backoffs of the n-grams that the vocabulary has.

    Returns:
      Ids, int64 [n, order], and two float64 [n], in nats.
    """
    title = f"\\{order}-grams:"
    for line in file:
        if line.strip():
            break
    if line.strip() != title:
        raise ValueError(f"{line.strip()[:40]!r} stands where {title} should")
    tokens, logs, backoffs = [], [], []
    for number in range(size):
        parts = next(file, "").split()
        if len(parts) not in (order + 1, order + 2):
            line = " ".join(parts)
            raise ValueError(f"n-gram {number + 1} of {title} is {line!r:.60}")
        words = [ids.get(word, -1) for word in parts[1 : order + 1]]
        if min(words) >= 0:
            tokens.append(words)
            logs.append(float(parts[0]))
            backoffs.append(float(parts[-1]) if len(parts) == order + 2 else 0.0)
    # NaN is no number that is at most 0.
    if not (np.array(logs) <= 0).all() or not np.isfinite(backoffs).all():
        raise ValueError(f"{title} has what is no log of a probability")
    found = np.array(tokens, np.int64).reshape(-1, order)
    return found, np.array(logs) * _LOG10, np.array(backoffs) * _LOG10


def _unigrams(
    tokens: np.ndarray,
    logs: np.ndarray,
    backoffs: np.ndarray,
    vocabulary: Vocabulary,
    line_end: int | None,
) -> Table:
    """The table of single tokens; </s> gives the probability, <s> the backoff."""
    size = len(vocabulary)
    known, weights = np.full(size, math.nan), np.zeros(size)
    for (token,), log, backoff in zip(tokens.tolist(), logs, backoffs, strict=True):
        is_begin = token == line_end and log <= (_NEVER + 1) * _LOG10
        if not is_begin:
            known[token] = log
        if token != line_end or backoff:
            weights[token] = backoff
    missing = np.isnan(known)
    if missing.any():
        unknown = vocabulary.unknown_id
        if unknown is None or missing[unknown]:
            first = vocabulary.tokens[int(np.argmax(missing))]
            raise ValueError(f"it lacks {missing.sum()} tokens, such as {first!r}")
        known[missing] = known[unknown]
    return Table(np.arange(size), known, weights)


def _table(
    tokens: np.ndarray,
    logs: np.ndarray,
    backoffs: np.ndarray,
    shorter: list[Table],
    vocab_size: int,
) -> Table:
    """A table of longer n-grams."""
    rows = tokens[:, 0]
    for column, table in enumerate(shorter[1:], start=1):
        rows = table.find(np.where(rows < 0, -1, rows * vocab_size + tokens[:, column]))
    if (rows < 0).any():
        raise ValueError("an n-gram's beginning is not there as an n-gram")
    keys = rows * vocab_size + tokens[:, -1]
    order = np.argsort(keys, kind="stable")
    return Table(keys[order], logs[order], backoffs[order])
