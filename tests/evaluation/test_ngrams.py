"""n-gram models beside a dictionary of n-grams, written from Chen and Goodman alone."""

import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.evaluation.arpa import read_arpa, write_arpa
from ptb_lm.evaluation.ngrams import estimate

WORDS = 6
VOCABULARY = Vocabulary(["<eos>", "<unk>", *"abcd"])


class Reference:
    """Interpolated modified Kneser-Ney over lines <s> w ... </s>, with dictionaries."""

    def __init__(self, lines, order, words):
        self.order, self.words = order, words
        raw = [collections.Counter() for _ in range(order)]
        for line, length in itertools.product(lines, range(1, order + 1)):
            for begin in range(len(line) - length + 1):
                raw[length - 1][tuple(line[begin : begin + length])] += 1
        self.counts = [raw[-1]]
        for length in range(order - 1, 0, -1):
            count = collections.Counter(gram[1:] for gram in raw[length])
            begins = {g: n for g, n in raw[length - 1].items() if g[0] == "<s>"}
            self.counts.insert(0, count | begins)
        self.counts[0].pop(("<s>",), None)
        self.discounts = [self._discounts(counts) for counts in self.counts]

    @staticmethod
    def _discounts(counts):
        n = collections.Counter(counts.values())
        if not (n[1] and n[2] and n[3]):
            return [0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return found if min(found) > 0 else [0.5, 1.0, 1.5]

    def prob(self, word, context):
        """Of a word after a tuple of words, `order` - 1 of them at most."""
        counts = self.counts[len(context)]
        followers = {g: n for g, n in counts.items() if g[:-1] == context}
        lower = self.prob(word, context[1:]) if context else 1 / self.words
        if not followers:
            return lower
        total, discounts = sum(followers.values()), self.discounts[len(context)]
        taken = {g: discounts[min(n, 3) - 1] for g, n in followers.items()}
        gram = (*context, word)
        own = (followers[gram] - taken[gram]) / total if gram in followers else 0.0
        return own + sum(taken.values()) / total * lower

    def log_probs(self, line):
        """Of each word of a line after <s>."""
        return [
            math.log(self.prob(line[place], tuple(line[:place][1 - self.order :])))
            if self.order > 1
            else math.log(self.prob(line[place], ()))
            for place in range(1, len(line))
        ]


def as_lines(ids):
    """The text as lines of <s>, words as numbers, </s>; the last may be open."""
    lines = [["<s>"]]
    for index in ids:
        if index == 0:
            lines[-1].append("</s>")
            lines.append(["<s>"])
        else:
            lines[-1].append(int(index))
    return lines if len(lines[-1]) > 1 else lines[:-1]


def random_ids(count, seed):
    """A text with favourite words, so that n-grams return."""
    shares = np.array([0.2, 0.05, 0.35, 0.2, 0.15, 0.05])
    return np.random.default_rng(seed).choice(WORDS, count, p=shares)


@settings(max_examples=25, deadline=None)
@example(order=2, count=227, seed=86)  # a discount would be negative
@given(order=st.integers(1, 4), count=st.integers(60, 400), seed=st.integers(0, 99))
def test_probabilities_are_those_of_the_equations(order, count, seed):
    ids, text = random_ids(count, seed), random_ids(40, seed + 1)
    expected = Reference(as_lines(ids), order, WORDS)
    model = estimate(ids, order, WORDS, line_end=0)
    found = model.log_probs(np.concatenate([[0], text]))[1:]
    logs = [log for line in as_lines(text) for log in expected.log_probs(line)]
    np.testing.assert_allclose(found, logs, atol=1e-9)


@pytest.mark.parametrize("line_end", [0, None])
def test_probabilities_sum_to_one(line_end):
    model = estimate(random_ids(2000, 0), 4, WORDS, line_end)
    rng = np.random.default_rng(1)
    for length in (0, 1, 2, 3, 5):
        context = rng.integers(0, WORDS, length)
        texts = [np.append(context, word) for word in range(WORDS)]
        total = sum(math.exp(model.log_probs(text)[-1]) for text in texts)
        assert total == pytest.approx(1, abs=1e-12)


def test_a_word_that_was_never_seen_is_possible():
    ids = random_ids(1000, 0)
    model = estimate(ids[ids != 5], 3, WORDS, line_end=0)
    assert -20 < model.log_probs(np.array([0, 5]))[1] < -3


def test_without_lines_contexts_go_on():
    """A text with a period of three: only a context across the token 0 tells it."""
    ids = np.array([1, 0, 2, 1, 0, 3] * 50 + random_ids(300, 0).tolist())
    text = np.array([2, 1, 0, 3])
    with_lines = estimate(ids, 4, WORDS, line_end=0).log_probs(text)[-1]
    without = estimate(ids, 4, WORDS, line_end=None).log_probs(text)[-1]
    assert without > with_lines + 0.3


@settings(max_examples=10, deadline=None)
@given(order=st.integers(1, 4), seed=st.integers(0, 99))
def test_an_arpa_file_holds_the_model(order, seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("arpa") / "model.arpa"
    model = estimate(random_ids(1500, seed), order, WORDS, line_end=0)
    write_arpa(model, VOCABULARY, path)
    text = random_ids(200, seed + 1)
    found = read_arpa(path, VOCABULARY)
    np.testing.assert_allclose(
        found.log_probs(text), model.log_probs(text), rtol=0, atol=3e-6
    )


ARPA = """\
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99\t<s>\t-0.5
-0.7\t</s>
-1.0\t<unk>
-0.4\ta\t-0.25
-0.9\tz

\\2-grams:
-0.2\t<s> a
-0.3\ta </s>
-0.1\ta z

\\end\\
"""


def test_an_arpa_file_made_by_others(tmp_path):
    """By hand: log10 of p(a | <s>), p(b), p(</s> | b), p(c | <s>), p(a | c)."""
    path = tmp_path / "model.arpa"
    path.write_text(ARPA)
    model = read_arpa(path, VOCABULARY)
    ids = VOCABULARY.encode(["<eos>", "a", "b", "<eos>", "c", "a"])
    logs = model.log_probs(ids)[1:] / math.log(10)
    np.testing.assert_allclose(logs, [-0.2, -0.25 - 1.0, -0.7, -0.5 - 1.0, -0.4])


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("\\data\\", "data", "no line \\data\\"),
        ("ngram 1=5", "ngram 1=6", "n-gram 6 of \\1-grams: is ''"),
        ("ngram 2=3", "ngram 3=3", "'ngram 3=3' is out of order"),
        ("-0.9\tz", "-0.9", "n-gram 5 of \\1-grams: is '-0.9'"),
        ("-0.4\ta", "x\ta", "could not convert string to float: 'x'"),
        ("-0.4\ta", "nan\ta", "\\1-grams: has what is no log of a probability"),
        ("-0.4\ta", "0.4\ta", "\\1-grams: has what is no log of a probability"),
        ("-1.0\t<unk>", "-1.0\tq", "lacks 4 tokens, such as '<unk>'"),
    ],
)
def test_a_damaged_arpa_file_is_named(old, new, words, tmp_path):
    path = tmp_path / "model.arpa"
    path.write_text(ARPA.replace(old, new))
    with pytest.raises(UserError) as error:
        read_arpa(path, VOCABULARY)
    assert str(error.value).startswith(f"{path}: not an ARPA file: ")
    assert words in str(error.value)


def test_an_arpa_file_cannot_hold_white_space(tmp_path):
    model = estimate(random_ids(1500, 0), 2, WORDS, line_end=None)
    with pytest.raises(UserError, match=r"cannot hold the token ' '"):
        write_arpa(model, Vocabulary([" ", *"abcde"]), tmp_path / "model.arpa")
