"""Strings <-> ids in a TensorFlow graph: `TokenRules` and `Vocabulary` once more.

An exported model reads and writes text without this project's Python.
"""

import tensorflow as tf

from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary

# What Python's str.split() takes for white space, in RE2's syntax.
_WHITE_SPACE = r"[\s\p{Z}\x0b\x1c-\x1f\x{85}]+"


class GraphTokenizer(tf.Module):
    """Reads and writes text by a vocabulary and the rule of a `TokenRules`.

    There is one difference: if a vocabulary of words has no ``<eos>``, a line end is
    white space.

    Attributes:
      line_end_id: id of ``<eos>`` or of the line feed; None where the vocabulary
        has none.
      unknown_id: id of ``<unk>``; None where the vocabulary has none.
      tokens: the vocabulary in id order, string [vocabulary].
    """

    def __init__(
        self, vocabulary: Vocabulary, token_type: str = "word", normalize: str = "none"
    ):
        """Makes the tables.

        Args:
          vocabulary: the tokens.
          token_type: "word", "char" or "byte", see `TokenRules`.
          normalize: "none" or "letters", likewise.
        """
        super().__init__()
        self._rules = TokenRules(token_type, normalize)
        self.unknown_id = vocabulary.unknown_id
        self.line_end_id: int | None = None
        line_end = self._rules.line_end
        if line_end is not None and line_end in vocabulary.tokens:
            self.line_end_id = vocabulary.tokens.index(line_end)
        self.tokens = tf.constant(vocabulary.tokens)
        ids = tf.range(len(vocabulary), dtype=tf.int32)
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(self.tokens, ids), default_value=-1
        )

    def split(self, texts: tf.Tensor, close_lines: bool) -> tf.RaggedTensor:
        r"""Tokens of the texts, whether the vocabulary has them or not.

        Args:
          texts: string [n], UTF-8; what is not becomes U+FFFD, except in a
            model of bytes. Lines end in ``\n`` or ``\r\n``.
          close_lines: as in `TokenRules.split`.

        Returns:
          string [n, (tokens)].
        """
        if self._rules.are_bytes:
            ids = _bytes_in(texts)
            return ids.with_flat_values(tf.gather(self.tokens, ids.flat_values))
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        if self._rules.normalize == "letters":
            texts = tf.strings.regex_replace(texts, "[^A-Za-z]+", " ")
            texts = tf.strings.lower(tf.strings.regex_replace(texts, "^ ", ""))
        else:
            texts = tf.strings.regex_replace(texts, "\r\n", "\n")
        if self._rules.token_type == "char":
            return tf.strings.unicode_split(texts, "UTF-8")
        if close_lines:
            texts = tf.strings.regex_replace(texts, r"([^\n])\z", r"\1" + "\n")
        if self.line_end_id is not None:
            texts = tf.strings.regex_replace(texts, "\n", f" {self._rules.line_end} ")
        texts = tf.strings.regex_replace(texts, _WHITE_SPACE, " ")
        return tf.strings.split(texts)

    def read(
        self, texts: tf.Tensor, close_lines: bool
    ) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Ids of texts.

        Tokens that the vocabulary lacks become ``<unk>``; a vocabulary that has no
        ``<unk>`` leaves them out.

        Args:
          texts: as in `split`.
          close_lines: as in `split`.

        Returns:
          Ids, int32 [n, (t)], and how many tokens of each text the vocabulary lacks,
          int64 [n].
        """
        if self._rules.are_bytes:
            return (ids := _bytes_in(texts)), tf.zeros([ids.nrows()], tf.int64)
        tokens = self.split(texts, close_lines)
        ids = tokens.with_flat_values(self._table.lookup(tokens.flat_values))
        is_unknown = ids < 0
        unknown = tf.reduce_sum(tf.cast(is_unknown, tf.int64), axis=1)
        if self.unknown_id is None:
            return tf.ragged.boolean_mask(ids, ~is_unknown), unknown
        return tf.where(is_unknown, self.unknown_id, ids), unknown

    def names(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Tokens of ids: int32 [n, (t)] -> string [n, t], "" after a text's end."""
        tokens = tf.gather(self.tokens, ids.flat_values)
        return ids.with_flat_values(tokens).to_tensor("")

    def start_line(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Puts a line end, after which a sentence starts, before every row.

        Raises:
          tf.errors.InvalidArgumentError: the vocabulary has no line end and a row
            is empty, so that there is nothing to continue.
        """
        if self.line_end_id is not None:
            starts = tf.fill([ids.nrows(), 1], self.line_end_id)
            return tf.concat([starts, ids], axis=1)
        check = tf.debugging.Assert(
            tf.reduce_all(ids.row_lengths() > 0),
            ["an empty prompt, and no line end in the vocabulary to start from"],
        )
        with tf.control_dependencies([check]):
            return ids.with_flat_values(tf.identity(ids.flat_values))

    def join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Writes tokens as a person would: int32 [n, (t)] -> string [n].

        It puts a space between words, and none between characters; the token of a
        line end ends a line. Of bytes, what is not UTF-8 becomes U+FFFD.
        """
        if self._rules.are_bytes:
            single = tf.constant([bytes([byte]) for byte in range(256)])
            texts = tf.strings.unsorted_segment_join(
                tf.gather(single, ids.flat_values), ids.value_rowids(), ids.nrows()
            )
            return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", "replace")
        tokens = tf.gather(self.tokens, ids.flat_values)
        if self.line_end_id is not None:
            tokens = tf.where(ids.flat_values == self.line_end_id, "\n", tokens)
        texts = tf.strings.unsorted_segment_join(
            tokens, ids.value_rowids(), ids.nrows(), separator=self._rules.separator
        )
        if self._rules.separator:
            texts = tf.strings.regex_replace(texts, " ?\n ?", "\n")
        return texts


def _bytes_in(texts: tf.Tensor) -> tf.RaggedTensor:
    """The bytes of texts: string [n] -> int32 [n, (t)]."""
    single = tf.strings.bytes_split(texts)
    values = tf.reshape(tf.io.decode_raw(single.flat_values, tf.uint8), [-1])
    return single.with_flat_values(tf.cast(values, tf.int32))
