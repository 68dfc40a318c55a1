"""A probabilistic grammar of simple English: a corpus whose perplexity is known.

A language model can at best reach the perplexity of the source that wrote its
text. For a real corpus nobody knows that number; for the text written here it
has a closed form, so a trained model can be held against it. Subject and verb
agree in number across relative clauses, and pronouns agree with a subject many
words back: only a model with a memory comes near the floor.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

EOS = "<eos>"
_CORPUS_TOKENS = {"train": 100_000, "valid": 10_000, "test": 10_000}
_CORPUS_SEEDS = {"train": 1, "valid": 2, "test": 3}
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
        the symbols separated by blanks; no symbols is the empty production.
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
        """Return the entropy (nats) and expected length (tokens) of a sentence.

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
        symbols = solution[:, 2]
        if symbols.min() < 1 or symbols.max() > _LARGEST_EXPECTED_SYMBOLS:
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
        uniform = random.Random(seed).random
        sentences, count = [], 0
        while count < num_tokens:
            words = self._sample(uniform)
            sentences.append(" ".join(words))
            count += len(words) + 1
        return sentences

    def _sample(self, uniform: Callable[[], float]) -> list[str]:
        """Draw the words of one sentence with uniform numbers of [0, 1)."""
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
        stack = [EOS, self.start]
        total = 0.0
        for word in (*words, EOS):
            total += self._advance(stack, word)
            if total == -math.inf:
                break
        return total

    def is_grammatical(self, words: Sequence[str]) -> bool:
        """Whether the grammar can write this sentence (words without `<eos>`)."""
        return self.log_probability(words) > -math.inf

    def next_token_distribution(self, prefix_words: Sequence[str]) -> dict[str, float]:
        """Return the exact probability of each token that can follow a prefix.

        Args:
          prefix_words: the first words of a sentence, perhaps none.

        Returns:
          probability by word; `<eos>` is a key where the sentence may end.

        Raises:
          ValueError: no sentence begins with these words.

        """
        stack = [EOS, self.start]
        for position, word in enumerate(prefix_words):
            if word == EOS or self._advance(stack, word) == -math.inf:
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
        """Read a word off the stack, in place; its nats given what came before.

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
    """Raise ValueError unless the symbols are well formed and all in use."""
    if start not in productions:
        raise ValueError(f"the start symbol {start} has no productions")
    reached, pending = {start}, [start]
    while pending:
        for choice in productions[pending.pop()]:
            for symbol in choice.symbols:
                if symbol == EOS:
                    raise ValueError(f"{EOS} ends every sentence and is in no rule")
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
    """Raise ValueError unless each nonterminal has a proper distribution."""
    for name, choices in productions.items():
        total = math.fsum(choice.probability for choice in choices)
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise ValueError(f"the probabilities of {name} sum to {total}, not 1")
        if min(choice.probability for choice in choices) <= 0:
            raise ValueError(f"{name} has a production that is never used")


def _prediction_table(
    productions: dict[str, tuple[Production, ...]], start: str
) -> dict[str, dict[str, Production]]:
    """Make the LL(1) table: nonterminal, next token -> the production it means.

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
    follow[start].add(EOS)
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


# The built-in English. Clauses nest to this depth: 0 is the main clause.
_MAX_DEPTH = 2


class _Noun(NamedTuple):
    """A class of animate nouns: what agrees with it, and how often it is used."""

    name: str
    animacy: str  # PERSON ("who") or ANIMAL ("that")
    number: str  # SG or PL
    pronoun: str  # "" where either gender would do
    weight: float


_NOUNS = (
    _Noun("MAN", "PERSON", "SG", "he", 0.15),
    _Noun("WOMAN", "PERSON", "SG", "she", 0.15),
    _Noun("WORKER", "PERSON", "SG", "", 0.15),
    _Noun("PEOPLE", "PERSON", "PL", "they", 0.3),
    _Noun("BEAST", "ANIMAL", "SG", "it", 0.12),
    _Noun("BEASTS", "ANIMAL", "PL", "they", 0.13),
)

_WORD_CLASSES = {
    "MAN": "king boy father monk prince fisherman shepherd brother",
    "WOMAN": "queen girl mother nun princess lady widow sister",
    "WORKER": "farmer captain sailor teacher doctor baker soldier painter",
    "PEOPLE": "children sailors farmers men women soldiers girls boys"
    " kings teachers painters sisters",
    "BEAST": "dog horse cat fox goat wolf rabbit donkey",
    "BEASTS": "dogs horses cats foxes goats wolves rabbits donkeys",
    "DETERMINER_SG": "a every this",
    "DETERMINER_PL": "some two these many",
    "QUALITY": "young little tired clever brave hungry quiet proud lazy wise",
    "FREQUENCY": "often never always rarely still",
    "MANNER": "quietly again slowly gladly alone today",
    "CONJUNCTION": "because when while",
    "LOCATION": "garden forest village morning valley summer field",
    "HOUR": "night noon dawn",
    "DAY": "sunday monday friday",
    "BESIDE": "near behind beside",
    "PLACE": "river rivers bridge hills mill gates castle trees harbor walls",
    "FOOD": "bread soup cheese honey fish rice cake wine",
    "TASTE": "fresh warm sweet cold",
    "FODDER": "grass corn hay berries apples",
    "TEXT": "letter book song poem story",
    "TONE": "long sad short strange",
    "BUILDING": "house boat wall bridge fence roof tower",
    "LOOK": "wooden white broken small",
}

# Third person singular / plural. The plural serves after "does not" as well.
_VERB_CLASSES = {
    "REST": "sleeps/sleep sings/sing laughs/laugh works/work waits/wait"
    " dances/dance smiles/smile",
    "LOVE": "loves/love knows/know admires/admire helps/help trusts/trust"
    " visits/visit remembers/remember",
    "FEED": "feeds/feed follows/follow watches/watch washes/wash protects/protect",
    "EAT": "eats/eat buys/buy cooks/cook sells/sell likes/like",
    "READ": "reads/read writes/write copies/copy forgets/forget",
    "BUILD": "builds/build repairs/repair paints/paint cleans/clean",
    "SAY": "says/say thinks/think hopes/hope believes/believe",
    "PLAY": "runs/run sleeps/sleep hides/hide jumps/jump plays/play rests/rest",
    "CHASE": "chases/chase sees/see follows/follow fears/fear hears/hear",
    "GRAZE": "eats/eat finds/find steals/steal wants/want",
}


Choices = list[tuple[float, str]]
Rules = dict[str, Choices]


def _choices(*weighted: tuple[float, str]) -> Choices:
    """Productions with probabilities in proportion to the weights; 0 leaves out."""
    total = math.fsum(weight for weight, _ in weighted)
    return [(weight / total, text) for weight, text in weighted if weight]


def _zipf(words: Sequence[str]) -> Choices:
    """Give words probabilities as 1 / (rank + 1), after Zipf and Mandelbrot."""
    return _choices(*((1 / (rank + 2), word) for rank, word in enumerate(words)))


def _lexicon() -> Rules:
    """Return the word classes and the phrases that hold no animate noun phrase."""
    rules = {name: _zipf(text.split()) for name, text in _WORD_CLASSES.items()}
    for name, text in _VERB_CLASSES.items():
        pairs = [pair.split("/") for pair in text.split()]
        rules[f"{name}_SG"] = _zipf([singular for singular, _ in pairs])
        rules[f"{name}_PL"] = _zipf([plural for _, plural in pairs])
    rules["MEAL"] = _choices((0.7, "FOOD"), (0.3, "TASTE FOOD"))
    for name, adjective in (("TEXT", "TONE"), ("BUILDING", "LOOK")):
        described = f"DESCRIBED_{name}"
        rules[f"THE_{name}"] = _choices(
            (0.55, f"the {described}"), (0.45, f"a {described}")
        )
        rules[described] = _choices((0.75, name), (0.25, f"{adjective} {name}"))
    rules["SETTING"] = _choices(
        (0.6, "in the LOCATION"), (0.2, "at HOUR"), (0.2, "on DAY")
    )
    rules["COMPANION"] = _choices((0.5, "BEAST"), (0.5, "BEASTS"))
    rules["NEARBY"] = _choices((0.65, "BESIDE the PLACE"), (0.35, "with the COMPANION"))
    return rules


def _noun_phrase(
    name: str, depth: int, nouns: Sequence[_Noun], after: Callable[[_Noun], str]
) -> Rules:
    """Compose determiner, adjective, one of the nouns, modifier and after(noun).

    After "the" the number is open; every other determiner decides it.
    """
    rules = {
        name: _choices(
            (0.64, f"the {name}_ANY"),
            (0.2, f"DETERMINER_SG {name}_SG"),
            (0.16, f"DETERMINER_PL {name}_PL"),
        )
    }
    for number in ("ANY", "SG", "PL"):
        head = f"{name}_HEAD_{number}"
        rules[f"{name}_{number}"] = _choices((0.78, head), (0.22, f"QUALITY {head}"))
        rules[head] = _choices(
            *(
                (
                    noun.weight,
                    f"{noun.name} MODIFIER_{noun.animacy}_{noun.number}_{depth}"
                    f" {after(noun)}",
                )
                for noun in nouns
                if number in ("ANY", noun.number)
            )
        )
    return rules


def _clauses(depth: int) -> Rules:
    """Clauses, object noun phrases and relative clauses at a depth of nesting."""

    def predicate(noun: _Noun) -> str:
        tail = f" TAIL_{noun.name}" if depth == 0 else ""
        return f"PREDICATE_{noun.animacy}_{noun.number}_{depth}{tail}"

    rules = _noun_phrase(f"CLAUSE_{depth}", depth, _NOUNS, predicate)
    for animacy, verb in (("PERSON", "LOVE"), ("ANIMAL", "FEED")):

        def verb_of_gap(noun: _Noun, verb: str = verb) -> str:
            return f"{verb if noun.animacy == 'PERSON' else 'CHASE'}_{noun.number}"

        nouns = [noun for noun in _NOUNS if noun.animacy == animacy]
        rules |= _noun_phrase(f"{animacy}_{depth}", depth, nouns, lambda noun: "")
        if depth > 0:
            rules |= _noun_phrase(f"GAP_{animacy}_{depth}", depth, _NOUNS, verb_of_gap)
    return rules


def _predicates(depth: int, animacy: str, number: str) -> Rules:
    """Return modifiers and predicates of a kind of subject at a depth."""
    kind = f"{animacy}_{number}_{depth}"
    deeper = f"{animacy}_{number}_{depth + 1}"
    inner = depth < _MAX_DEPTH
    relative = {"PERSON": "who", "ANIMAL": "that"}[animacy]
    rules = {
        f"MODIFIER_{kind}": _choices(
            (0.66 if inner else 0.9, ""),
            (0.24 if inner else 0, f"{relative} RELATIVE_{deeper}"),
            (0.1, "NEARBY"),
        ),
        f"PREDICATE_{kind}": _choices(
            (0.78, f"VERB_PHRASE_{kind}"),
            (0.14, f"FREQUENCY VERB_PHRASE_{kind}"),
            (
                0.08,
                f"{'does' if number == 'SG' else 'do'} not"
                f" VERB_PHRASE_{animacy}_PL_{depth}",
            ),
        ),
    }
    if depth > 0:
        rules[f"RELATIVE_{kind}"] = _choices(
            (0.5, f"VERB_PHRASE_{kind}"), (0.5, f"GAP_{animacy}_{depth}")
        )
    rules[f"VERB_PHRASE_{kind}"] = _verb_phrase(depth, animacy, number)
    return rules


def _verb_phrase(depth: int, animacy: str, number: str) -> Choices:
    """Return the verb classes of a kind of subject, each with its own objects."""
    if animacy == "PERSON":
        return _choices(
            (0.26, f"REST_{number}"),
            (0.2, f"LOVE_{number} PERSON_{depth}"),
            (0.14, f"FEED_{number} ANIMAL_{depth}"),
            (0.13, f"EAT_{number} MEAL"),
            (0.1, f"READ_{number} THE_TEXT"),
            (0.1, f"BUILD_{number} THE_BUILDING"),
            (
                0.07 if depth < _MAX_DEPTH else 0,
                f"SAY_{number} that CLAUSE_{depth + 1}",
            ),
        )
    return _choices(
        (0.45, f"PLAY_{number}"),
        (0.35, f"CHASE_{number} ANIMAL_{depth}"),
        (0.2, f"GRAZE_{number} FODDER"),
    )


def _tail(noun: _Noun) -> Rules:
    """Return what may follow the first predicate of a sentence, by its subject."""
    predicate = f"PREDICATE_{noun.animacy}_{noun.number}_1"
    return {
        f"TAIL_{noun.name}": _choices(
            (0.48, ""),
            (0.12, "MANNER"),
            (0.14, "SETTING"),
            (0.12, f"and {predicate}"),
            (0.14 if noun.pronoun else 0, f"CONJUNCTION {noun.pronoun} {predicate}"),
        )
    }


def _english() -> Grammar:
    """Build the built-in grammar: some 250 words, clauses nested to a depth of 2."""
    rules: Rules = {"S": _choices((0.88, "CLAUSE_0"), (0.12, "SETTING CLAUSE_0"))}
    rules |= _lexicon()
    for depth in range(_MAX_DEPTH + 1):
        rules |= _clauses(depth)
        for animacy in ("PERSON", "ANIMAL"):
            for number in ("SG", "PL"):
                rules |= _predicates(depth, animacy, number)
    for noun in _NOUNS:
        rules |= _tail(noun)
    return Grammar(rules)


ENGLISH = _english()


def builtin_corpus() -> dict[str, str]:
    """Write the built-in corpus in PTB form: the texts train, valid and test.

    A sentence a line, words separated by a blank, `<eos>` not written; about
    100,000, 10,000 and 10,000 tokens, line ends counted. Every word of valid
    and test occurs in train.
    """
    return {
        split: "".join(
            f"{sentence}\n"
            for sentence in ENGLISH.generate(num_tokens, _CORPUS_SEEDS[split])
        )
        for split, num_tokens in _CORPUS_TOKENS.items()
    }
