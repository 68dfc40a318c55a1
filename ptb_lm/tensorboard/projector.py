"""The word embeddings as TensorBoard's Projector reads them."""

import pathlib

import numpy as np

from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.system import files

# Where the Projector looks, below a run's folder.
FOLDER = pathlib.Path("plugins", "org_tensorflow_tensorboard_projector")
MOST_WORDS = 10_000  # more, and the page takes a minute to open

_CONFIG = """\
embeddings {{
  tensor_name: "embedding"
  tensor_shape: {rows}
  tensor_shape: {columns}
  tensor_path: "embedding.bytes"
  metadata_path: "words.tsv"
}}
"""


def write_embeddings(
    run: pathlib.Path, embedding: np.ndarray, vocabulary: Vocabulary, counts: np.ndarray
) -> None:
    """Writes the embeddings of the most frequent words.

    Args:
      run: the run's folder.
      embedding: float32 [vocabulary, width].
      vocabulary: the words; the most frequent have the lowest ids.
      counts: how often each is in the training text, int64 [vocabulary].

    Raises:
      UserError: the files cannot be written.
    """
    rows = embedding[:MOST_WORDS].astype("<f4")
    # TensorBoard takes a file for binary when it is not UTF-8, which no byte 0xff
    # is part of. As the lowest byte of a number it is worth 2^-16 of it, at most.
    rows.view(np.uint8)[0, 0] = 0xFF
    lines = ["word\tcount"] + [
        f"{_label(word)}\t{count}"
        for word, count in zip(vocabulary.tokens[: len(rows)], counts, strict=False)
    ]
    folder = run / FOLDER
    files.make_folder(folder)
    content = rows.tobytes()
    files.write_atomically(folder / "embedding.bytes", lambda file: file.write(content))
    files.write_text(folder / "words.tsv", "\n".join(lines) + "\n")
    text = _CONFIG.format(rows=len(rows), columns=rows.shape[1])
    files.write_text(folder / "projector_config.pbtxt", text)


def _label(token: str) -> str:
    """A token as one cell of a table shows it: a space or a tab is quoted."""
    return token if token.isprintable() and not token.isspace() else ascii(token)
