"""A probabilistic grammar that writes texts whose perplexity is known.

A language model can at best reach the perplexity of the source that wrote its text.
Nobody knows that number for a real corpus. For a text that a grammar wrote it has a
closed form, against which a trained model can be held.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ptb_lm.data.vocabulary import END_OF_SENTENCE

# An expected length beyond this is a critical grammar seen through rounding.
_LARGEST_EXPECTED_SYMBOLS = 1e9


class Production(NamedTuple):
    """One way to rewrite a nonterminal: its probability and its symbols."""

    probability: float
    symbols: tuple[str, ...]


class Grammar:
    """A probabilistic context-free grammar that is LL(1), hence unambiguous.

    The next word alone reveals which production was chosen, so a prefix of a
    sentence determines the stack of symbols still to come. That makes every
    next-token distribution, and the entropy rate, exactly computable.

    Args:
      rules: for each nonterminal its productions, (probability, symbols) with
        the symbols separated by spaces; no symbols is the empty production.
        Nonterminals are in upper case, words are not.
      start: the nonterminal of a sentence. `<eos>` follows it and is in no rule.

    Raises:
      ValueError: probabilities that do not sum to 1, a nonterminal undefined or
        unreachable, two productions that one word could begin (not LL(1)), or
        sentences of infinite expected length.
    """

    def __init__(
        self, rules: Mapping[str, Iterable[tuple[float, str]]], start: str = "S"
    ):
        self.start = start
        self.productions = {
            name: tuple(Production(p, tuple(text.split())) for p, text in choices)
            for name, choices in rules.items()
        }
        _check_symbols(self.productions, start)
        _check_probabilities(self.productions)
        self._cumulative = {
            name: tuple(accumulate(choice.probability for choice in choices))
            for name, choices in self.productions.items()
        }
        self._table = _prediction_table(self.productions, start)
        self._entropy, self._length = self._expectations()

    def _expectations(self) -> tuple[float, float]:
        """The entropy (nats) and the expected length (tokens) of a sentence.

        Both solve x = own + children @ x over the nonterminals, where children
        counts the expected nonterminals of one rewriting (Grenander 1976).
        """
        index = {name: row for row, name in enumerate(self.productions)}
        children = np.zeros((len(index), len(index)))
        own = np.zeros((len(index), 3))  # nats, words, symbols
        own[:, 2] = 1
        for name, choices in self.productions.items():
            for probability, symbols in choices:
                own[index[name], 0] -= probability * math.log(probability)
                for symbol in symbols:
                    if symbol in index:
                        children[index[name], index[symbol]] += probability
                    else:
                        own[index[name], 1] += probability
        try:
            solution = np.linalg.solve(np.eye(len(index)) - children, own)
        except np.linalg.LinAlgError:
            raise ValueError("the expected sentence length is infinite") from None
        # The children matrix is subcritical exactly when the expected number of
        # symbols comes out positive everywhere (I - children is an M-matrix).
        sizes = solution[:, 2]
        if sizes.min() < 1 or sizes.max() > _LARGEST_EXPECTED_SYMBOLS:
            raise ValueError("the expected sentence length is infinite")
        nats, words, _ = solution[index[self.start]]
        return float(nats), float(words) + 1

    def entropy_rate(self) -> float:
        """Nats per token, `<eos>` counted: the least a model can reach.

        The sentences are independent and identically distributed, so it is the
        entropy of a sentence over its expected length. Its exponential is the
        floor of the perplexity.
        """
        return self._entropy / self._length

    def expected_length(self) -> float:
        """Tokens per sentence, `<eos>` counted."""
        return self._length

    def words(self) -> list[str]:
        """All words, sorted, without `<eos>`."""
        return sorted(
            {
                symbol
                for choices in self.productions.values()
                for choice in choices
                for symbol in choice.symbols
                if symbol not in self.productions
            }
        )

    def generate(self, num_tokens: int, seed: int) -> list[str]:
        """Whole sentences of at least num_tokens tokens in all, `<eos>` counted.

        The same on every platform and version of Python: it rests on
        `random.Random(seed).random()` alone, whose stream is promised to stay.

        Args:
          num_tokens: how many tokens to reach.
          seed: chooses the text; the sentences of a seed are a prefix of the
            sentences of the same seed and a larger num_tokens.
        """
        sentences, count = [], 0
        for words in self.sentences(seed):
            if count >= num_tokens:
                break
            sentences.append(" ".join(words))
            count += len(words) + 1
        return sentences

    def sentences(self, seed: int) -> Iterator[list[str]]:
        """The words of one sentence after the other, without end, as `generate`."""
        uniform = random.Random(seed).random
        while True:
            yield self._sample(uniform)

    def _sample(self, uniform: Callable[[], float]) -> list[str]:
        """Draws the words of one sentence with uniform numbers of [0, 1)."""
        words, stack = [], [self.start]
        while stack:
            symbol = stack.pop()
            if symbol not in self.productions:
                words.append(symbol)
                continue
            draw, cumulative = uniform(), self._cumulative[symbol]
            last = len(cumulative) - 1  # takes what rounding leaves below 1
            chosen = next((i for i in range(last) if draw < cumulative[i]), last)
            stack.extend(reversed(self.productions[symbol][chosen].symbols))
        return words

    def log_probability(self, words: Sequence[str]) -> float:
        """Nats of one sentence and its `<eos>`; -inf if it is ungrammatical.

        Args:
          words: the words of the sentence, without `<eos>`.
        """
        stack = [END_OF_SENTENCE, self.start]
        total = 0.0
        for word in (*words, END_OF_SENTENCE):
            total += self._advance(stack, word)
            if total == -math.inf:
                break
        return total

    def is_grammatical(self, words: Sequence[str]) -> bool:
        """Whether the grammar can write this sentence (words without `<eos>`)."""
        return self.log_probability(words) > -math.inf

    def parse(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """The nonterminals above each word of a sentence, from `start` down.

        Raises:
          ValueError: no sentence begins with these words.
        """
        stack: list[tuple[str, tuple[str, ...]]] = [(self.start, ())]
        found: list[tuple[str, ...]] = []
        for word in words:
            while stack and stack[-1][0] in self.productions:
                symbol, above = stack.pop()
                choice = self._table[symbol].get(word)
                parts = choice.symbols if choice else ("",)  # which is no word
                stack.extend((part, (*above, symbol)) for part in reversed(parts))
            if not stack or stack[-1][0] != word:
                raise ValueError(f"no sentence begins with {' '.join(words)}")
            found.append(stack.pop()[1])
        return found

    def next_token_distribution(self, prefix_words: Sequence[str]) -> dict[str, float]:
        """The exact probability of each token that can follow a prefix.

        Args:
          prefix_words: the first words of a sentence, perhaps none.

        Returns:
          probability by word; `<eos>` is a key where the sentence may end.

        Raises:
          ValueError: no sentence begins with these words.
        """
        stack = [END_OF_SENTENCE, self.start]
        for position, word in enumerate(prefix_words):
            if word == END_OF_SENTENCE or self._advance(stack, word) == -math.inf:
                raise ValueError(
                    f"no sentence begins with {' '.join(prefix_words[: position + 1])}"
                )
        distribution: dict[str, float] = {}
        pending = [(1.0, tuple(stack))]
        while pending:
            probability, symbols = pending.pop()
            if symbols[-1] not in self.productions:
                distribution[symbols[-1]] = probability  # LL(1): reached once
                continue
            for choice in self.productions[symbols[-1]]:
                rest = symbols[:-1] + choice.symbols[::-1]
                pending.append((probability * choice.probability, rest))
        return distribution

    def _advance(self, stack: list[str], word: str) -> float:
        """Reads a word off the stack, in place; its nats given what came before.

        Returns -inf, and leaves the stack broken, if the word cannot stand here.
        """
        log_probability = 0.0
        while stack:
            symbol = stack.pop()
            if symbol not in self.productions:
                return log_probability if symbol == word else -math.inf
            choice = self._table[symbol].get(word)
            if choice is None:
                return -math.inf
            log_probability += math.log(choice.probability)
            stack.extend(reversed(choice.symbols))
        return -math.inf


def _check_symbols(productions: dict[str, tuple[Production, ...]], start: str) -> None:
    """Raises ValueError unless the symbols are well formed and all in use."""
    if start not in productions:
        raise ValueError(f"the start symbol {start} has no productions")
    reached, pending = {start}, [start]
    while pending:
        for choice in productions[pending.pop()]:
            for symbol in choice.symbols:
                if symbol == END_OF_SENTENCE:
                    raise ValueError(
                        f"{END_OF_SENTENCE} ends every sentence and is in no rule"
                    )
                if symbol in productions and symbol not in reached:
                    reached.add(symbol)
                    pending.append(symbol)
                elif symbol not in productions and symbol.isupper():
                    raise ValueError(f"the nonterminal {symbol} has no productions")
    if unreached := sorted(productions.keys() - reached):
        raise ValueError(f"no sentence uses {', '.join(unreached)}")
    if odd := [name for name in productions if not name.isupper()]:
        raise ValueError(f"nonterminals are in upper case, not {', '.join(odd)}")


def _check_probabilities(productions: dict[str, tuple[Production, ...]]) -> None:
    """Raises ValueError unless each nonterminal has a proper distribution."""
    for name, choices in productions.items():
        total = math.fsum(choice.probability for choice in choices)
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise ValueError(f"the probabilities of {name} sum to {total}, not 1")
        if min(choice.probability for choice in choices) <= 0:
            raise ValueError(f"{name} has a production that is never used")


def _prediction_table(
    productions: dict[str, tuple[Production, ...]], start: str
) -> dict[str, dict[str, Production]]:
    """The LL(1) table: nonterminal, next token -> the production it means.

    The sets FIRST and FOLLOW are those of Lewis and Stearns (1968); a production
    that can vanish is predicted by whatever may follow its nonterminal.

    Raises:
      ValueError: a token that two productions of one nonterminal claim.
    """
    first = _first_sets(productions)
    follow = _follow_sets(productions, start, first)
    table: dict[str, dict[str, Production]] = {}
    for name, choices in productions.items():
        row = table[name] = {}
        for choice in choices:
            tokens = _first_of(choice.symbols, first)
            if "" in tokens:
                tokens = (tokens - {""}) | follow[name]
            for token in sorted(tokens):
                if token in row:
                    raise ValueError(
                        f"not LL(1): after the choice of {name}, {token!r} may come"
                        f" from {row[token].symbols} and from {choice.symbols}"
                    )
                row[token] = choice
    return table


def _first_of(symbols: Sequence[str], first: dict[str, set[str]]) -> set[str]:
    """Words that may begin the symbols; "" among them if all may vanish."""
    tokens: set[str] = set()
    for symbol in symbols:
        begins = first.get(symbol, {symbol})
        tokens |= begins - {""}
        if "" not in begins:
            return tokens
    return tokens | {""}


def _first_sets(productions: dict[str, tuple[Production, ...]]) -> dict[str, set[str]]:
    """For each nonterminal the words that may begin it, "" if it may vanish."""
    first: dict[str, set[str]] = {name: set() for name in productions}
    changed = True
    while changed:
        changed = False
        for name, choices in productions.items():
            found = set().union(*(_first_of(c.symbols, first) for c in choices))
            if not found <= first[name]:
                first[name] |= found
                changed = True
    return first


def _follow_sets(
    productions: dict[str, tuple[Production, ...]],
    start: str,
    first: dict[str, set[str]],
) -> dict[str, set[str]]:
    """For each nonterminal the tokens that may come right after it."""
    follow: dict[str, set[str]] = {name: set() for name in productions}
    follow[start].add(END_OF_SENTENCE)
    changed = True
    while changed:
        changed = False
        for name, choices in productions.items():
            for choice in choices:
                after = follow[name]
                for symbol in reversed(choice.symbols):
                    if symbol in follow and not after <= follow[symbol]:
                        follow[symbol] |= after
                        changed = True
                    begins = first.get(symbol, {symbol})
                    after = (begins - {""}) | (after if "" in begins else set())
    return follow
