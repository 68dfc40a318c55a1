"""The built-in English: a grammar of some 250 words, and the corpus it writes.

Subject and verb agree in number across relative clauses, and a pronoun agrees with a
subject many words back: only a model with a memory comes near the floor.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ptb_lm.data.grammar import Grammar

_CORPUS_TOKENS = {"train": 100_000, "valid": 10_000, "test": 10_000}
_CORPUS_SEEDS = {"train": 1, "valid": 2, "test": 3}
_MAX_DEPTH = 2  # to which clauses nest; 0 is the main clause


class Noun(NamedTuple):
    """A class of animate nouns: what agrees with it, and how often it is used."""

    name: str
    animacy: str  # PERSON ("who") or ANIMAL ("that")
    number: str  # SG or PL
    pronoun: str  # "" where either gender would do
    weight: float


NOUNS = (
    Noun("MAN", "PERSON", "SG", "he", 0.15),
    Noun("WOMAN", "PERSON", "SG", "she", 0.15),
    Noun("WORKER", "PERSON", "SG", "", 0.15),
    Noun("PEOPLE", "PERSON", "PL", "they", 0.3),
    Noun("BEAST", "ANIMAL", "SG", "it", 0.12),
    Noun("BEASTS", "ANIMAL", "PL", "they", 0.13),
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
VERB_CLASSES = {
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
    """Words with probabilities as 1 / (rank + 1), ranks from 1 (Zipf; Mandelbrot)."""
    return _choices(*((1 / (rank + 2), word) for rank, word in enumerate(words)))


def _lexicon() -> Rules:
    """The word classes, and the phrases that hold no animate noun phrase."""
    rules = {name: _zipf(text.split()) for name, text in _WORD_CLASSES.items()}
    for name, text in VERB_CLASSES.items():
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
    name: str, depth: int, nouns: Sequence[Noun], after: Callable[[Noun], str]
) -> Rules:
    """A determiner, an adjective, one of the nouns, a modifier and after(noun).

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

    def predicate(noun: Noun) -> str:
        tail = f" TAIL_{noun.name}" if depth == 0 else ""
        return f"PREDICATE_{noun.animacy}_{noun.number}_{depth}{tail}"

    rules = _noun_phrase(f"CLAUSE_{depth}", depth, NOUNS, predicate)
    for animacy, verb in (("PERSON", "LOVE"), ("ANIMAL", "FEED")):

        def verb_of_gap(noun: Noun, verb: str = verb) -> str:
            return f"{verb if noun.animacy == 'PERSON' else 'CHASE'}_{noun.number}"

        nouns = [noun for noun in NOUNS if noun.animacy == animacy]
        rules |= _noun_phrase(f"{animacy}_{depth}", depth, nouns, lambda noun: "")
        if depth > 0:
            rules |= _noun_phrase(f"GAP_{animacy}_{depth}", depth, NOUNS, verb_of_gap)
    return rules


def _predicates(depth: int, animacy: str, number: str) -> Rules:
    """Modifiers and predicates of a kind of subject at a depth."""
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
    """The verb classes of a kind of subject, each with its own objects."""
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


def _tail(noun: Noun) -> Rules:
    """What may follow the first predicate of a sentence, by its subject."""
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
    """Builds the grammar, with clauses nested to a depth of 2."""
    rules: Rules = {"S": _choices((0.88, "CLAUSE_0"), (0.12, "SETTING CLAUSE_0"))}
    rules |= _lexicon()
    for depth in range(_MAX_DEPTH + 1):
        rules |= _clauses(depth)
        for animacy in ("PERSON", "ANIMAL"):
            for number in ("SG", "PL"):
                rules |= _predicates(depth, animacy, number)
    for noun in NOUNS:
        rules |= _tail(noun)
    return Grammar(rules)


ENGLISH = _english()


def builtin_corpus() -> dict[str, str]:
    """The texts "train", "valid" and "test" that the grammar writes, in PTB form.

    One sentence per line, words separated by a space, no `<eos>`. With the line ends
    there are about 100,000, 10,000 and 10,000 tokens. Every word of "valid" and "test"
    is in "train".
    """
    return {
        split: "".join(
            f"{sentence}\n"
            for sentence in ENGLISH.generate(num_tokens, _CORPUS_SEEDS[split])
        )
        for split, num_tokens in _CORPUS_TOKENS.items()
    }
