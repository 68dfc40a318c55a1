"""The rule in the graph is the rule in Python."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.data.byte_tokens import BYTE_NAMES, to_text
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.inference.graph_tokenizer import GraphTokenizer
from tests.support.corpora import ALL_RULES, HARD_TEXTS
from tests.support.models import VOCABULARY


def tokenizer_of(rules, tokens):
    return GraphTokenizer(Vocabulary(tokens), rules.token_type, rules.normalize)


def tokens_of(rules):
    """Some tokens of a vocabulary, as a corpus of this kind has them."""
    tokens = ["a", " " if rules.token_type == "char" else "bcd", "<unk>"]
    return [*tokens, rules.line_end] if rules.line_end else tokens


@pytest.mark.parametrize("rules", ALL_RULES, ids=str)
@pytest.mark.parametrize("close_lines", [False, True])
@settings(max_examples=60)
@given(texts=st.lists(HARD_TEXTS, min_size=1, max_size=4))
def test_texts_are_split_as_in_python(rules, close_lines, texts):
    split = tokenizer_of(rules, tokens_of(rules)).split(tf.constant(texts), close_lines)
    found = [[token.decode() for token in row] for row in split.to_list()]
    assert found == [rules.split(text, close_lines) for text in texts]


@pytest.mark.parametrize("rules", ALL_RULES, ids=str)
@settings(max_examples=40)
@given(data=st.data())
def test_tokens_are_joined_as_in_python(rules, data):
    tokens = tokens_of(rules)
    row = st.lists(st.integers(0, len(tokens) - 1), max_size=9)
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    ids = tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)
    joined = tokenizer_of(rules, tokens).join(ids).numpy().tolist()
    expected = [rules.join(tokens[index] for index in row) for row in rows]
    assert [text.decode() for text in joined] == expected


@settings(max_examples=60)
@given(rows=st.lists(st.binary(max_size=9), min_size=1, max_size=4))
def test_bytes_are_split_and_joined_as_in_python(rows):
    rules = TokenRules("byte")
    tokenizer = tokenizer_of(rules, BYTE_NAMES)
    ids, unknown = tokenizer.read(tf.constant(rows), close_lines=True)
    assert ids.to_list() == list(map(list, rows)) and not unknown.numpy().any()
    split = tokenizer.split(tf.constant(rows), close_lines=True)
    names = [[token.decode() for token in row] for row in split.to_list()]
    assert names == [rules.split(to_text(row), close_lines=True) for row in rows]
    texts = [text.decode() for text in tokenizer.join(ids).numpy().tolist()]
    assert texts == list(map(rules.join, names))


@pytest.mark.parametrize("token_type", ["word", "char"])
def test_letters_are_read_as_in_a_corpus(token_type):
    vocabulary = Vocabulary(["the", "time", "machine"])
    if token_type == "char":
        vocabulary = Vocabulary(sorted(set("the time machine")))
    tokenizer = GraphTokenizer(vocabulary, token_type, "letters")
    for text in ["The Time", " \r\n 1THE,\n\ntime\u00e9machine\n", "", "7\n"]:
        tokens = tokenizer.split(tf.constant([text]), close_lines=True).numpy()[0]
        expected = TokenRules(token_type, "letters").split(text, close_lines=True)
        assert [token.decode() for token in tokens] == expected


def test_words_come_out_as_a_person_writes_them():
    tokenizer = GraphTokenizer(VOCABULARY)
    ids = tf.ragged.constant(
        [[0, 2, 3, 0, 4], [], [5], [0, 0, 6, 0, 0], [2, 1, 0]], dtype=tf.int32
    )
    assert tokenizer.join(ids).numpy().tolist() == [
        b"\nw0 w1\nw2",
        b"",
        b"w3",
        b"\n\nw4\n\n",
        b"w0 <unk>\n",
    ]


def test_without_eos_a_line_end_is_white_space():
    tokenizer = GraphTokenizer(Vocabulary(["a", "b"]))
    split = tokenizer.split(tf.constant(["a\nb"]), close_lines=True)
    assert split.to_list() == [[b"a", b"b"]]
    assert tokenizer.line_end_id is None


def test_kinds_that_there_are_not():
    with pytest.raises(ValueError, match="token_type is 'words'"):
        GraphTokenizer(VOCABULARY, "words")
    with pytest.raises(ValueError, match="normalize is 'lower'"):
        GraphTokenizer(VOCABULARY, "word", "lower")
