"""``--mode=features``: the states of the last layer, as an array for other programs.

It imports TensorFlow after it has checked the options and the folder.
"""

import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ptb_lm.commands.columns import to_line
from ptb_lm.commands.mode import TRAINED_RUN, Mode
from ptb_lm.commands.texts import Reader, named_text, open_model, stdin
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.system import files
from ptb_lm.system.progress import Progress, Update

DEFAULT_PATH = "features.npy"


class Sentence(NamedTuple):
    """A line of the text.

    Attributes:
      number: of the line, from 1.
      text: as the model reads it, without what is left out.
      tokens: as the model reads them.
    """

    number: int
    text: str
    tokens: list[str]


def run(config: Config) -> int:
    """Writes the array and the table of its rows; returns the exit status.

    Raises:
      UserError: there is no model, the text cannot be read by it or is empty, or a
        file cannot be written.
    """
    path = files.expand_home(config.probe.features_path or DEFAULT_PATH)
    if path.suffix != ".npy":
        raise UserError(f"--features_path={path}: must end in .npy")
    given = named_text(config)
    model = open_model(config)
    name, text = given or stdin()
    if not text.strip():
        raise UserError(f"{name}: no words to read")
    sentences = list(_sentences(Reader(model, config.generation.unknown), text))
    is_mean = config.probe.pooling == "mean"
    count = sum(1 if is_mean else len(each.tokens) for each in sentences)
    with Progress(sys.stderr).phase("Reading the text") as update:
        rows = _rows(model, sentences, is_mean, update)
        width = _write_array(path, rows, count)
    table = path.with_suffix(".tsv")
    lines = _mean_lines(sentences) if is_mean else _token_lines(sentences)
    files.write_text(table, "".join(f"{line}\n" for line in lines))
    print(f"{path}: float32 [{count}, {width}]; {table} says what the rows are")
    return 0


def _sentences(reader: Reader, text: str) -> Iterator[Sentence]:
    """The lines that are not empty, each a text without a line end."""
    lines = text.replace("\r\n", "\n").split("\n")
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    split = reader.split([lines[number - 1] for number in numbers])
    for number, written in zip(numbers, split, strict=True):
        line, read = lines[number - 1], reader.encode(written)
        tokens = reader.vocabulary.decode(read.ids.tolist())
        if read.left_out:
            line = reader.rules.join(tokens)
        yield Sentence(number, line, tokens)


def _rows(
    model: Any, sentences: list[Sentence], is_mean: bool, update: Update
) -> Iterator[np.ndarray]:
    """Rows of the array, sentence by sentence, float32 [rows, width]."""
    from ptb_lm.inference.features import features_of, mean_of

    texts = [each.text for each in sentences]
    found = features_of(model, texts, [len(each.tokens) for each in sentences])
    for done, rows in enumerate(found, start=1):
        update(done, len(sentences))
        yield mean_of(rows)[None] if is_mean else rows


def _write_array(path: pathlib.Path, rows: Iterable[np.ndarray], count: int) -> int:
    """Writes the rows as an array, piece by piece; returns its width.

    Raises:
      UserError: the file cannot be written.
    """
    width = 0

    def write(file: BinaryIO) -> None:
        nonlocal width
        for number, piece in enumerate(rows):
            if not number:
                width = piece.shape[1]
                header = np.lib.format.header_data_from_array_1_0(piece)
                shape = {"shape": (count, width)}
                np.lib.format.write_array_header_1_0(file, header | shape)
            file.write(np.ascontiguousarray(piece).data)

    files.write_atomically(path, write)
    return width


def _token_lines(sentences: list[Sentence]) -> Iterator[str]:
    """A line of columns for each token, after the header."""
    yield to_line(["row", "sentence_id", "token_id", "token"])
    row = 0
    for sentence in sentences:
        for place, token in enumerate(sentence.tokens, start=1):
            yield to_line([row, sentence.number, place, token])
            row += 1


def _mean_lines(sentences: list[Sentence]) -> Iterator[str]:
    """A line of columns for each sentence, after the header."""
    yield to_line(["row", "sentence_id", "tokens", "text"])
    for row, sentence in enumerate(sentences):
        yield to_line([row, sentence.number, len(sentence.tokens), sentence.text])


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "text_file",
        "text",
        "unknown",
        "pooling",
        "features_path",
    ),
    replaces={"save_path": ("model", "data_path"), "text": ("text_file",)},
)
