"""Which words a model has put near each other."""

import numpy as np

from ptb_lm.errors import UserError
from ptb_lm.reports.layout import markdown_cell, printable
from ptb_lm.runs.trained_run import TrainedRun

DEFAULT_WORDS = 10  # the most frequent ones, where none are given


def nearest(
    embedding: np.ndarray, ids: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of an embedding that point most nearly as the given ones do.

    Args:
      embedding: float32 [vocabulary, width].
      ids: rows to compare with all others, int [n].
      count: how many to find for each; at most vocabulary - 1 are there.

    Returns:
      Ids, the nearest first and the row itself left out, int64 [n, count], and
      their cosines, float64 [n, count].
    """
    rows = embedding.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1.0)  # a zero row is near nothing
    cosines = rows[ids] @ rows.T
    cosines[np.arange(len(ids)), ids] = -np.inf
    found = np.argsort(-cosines, axis=1, kind="stable")[:, : len(rows) - 1][:, :count]
    return found, np.take_along_axis(cosines, found, axis=1)


def neighbours_table(run: TrainedRun, words: list[str], count: int) -> str:
    """Markdown table of words and their nearest neighbours by cosine.

    Args:
      run: which weights.
      words: the words; none: the most frequent ones.
      count: neighbours of each.

    Raises:
      UserError: the run has no checkpoint, or a word is not in its vocabulary.
    """
    vocabulary = run.vocabulary
    words = words or [*vocabulary.tokens[:DEFAULT_WORDS]]
    unknown = [word for word in words if word not in vocabulary.tokens]
    if unknown:
        raise UserError(
            f"--words: not in the vocabulary: {', '.join(map(printable, unknown))}"
        )
    embedding = run.weights.get("embedding", np.zeros(0))
    if embedding.ndim != 2 or len(embedding) != len(vocabulary):
        raise UserError(
            f"{run.path}: the checkpoint does not fit: it has no embedding of"
            f" {len(vocabulary):,} tokens, as vocabulary.json has"
        )
    ids, cosines = nearest(embedding, vocabulary.encode(words), count)
    lines = ["| word | nearest words, with their cosine |", "|---|---|"]
    for word, row, values in zip(words, ids, cosines, strict=True):
        near = [
            f"{markdown_cell(token)} {cosine:.2f}"
            for token, cosine in zip(vocabulary.decode(row), values, strict=True)
        ]
        lines.append(f"| {markdown_cell(word)} | {', '.join(near)} |")
    return "\n".join(lines) + "\n"
