"""Minimal pairs of the built-in English: the verb agrees with its subject, or not.

    the boy near the rivers sings        the boy near the rivers sing

Between the subject of a sentence and its verb there may be nouns of the other number,
*attractors*: a model that counts words instead of parsing them takes the verb's number
from these. (Linzen, Dupoux and Goldberg 2016, "Assessing the ability of LSTMs to learn
syntax-sensitive dependencies", section 4.)
"""

from typing import NamedTuple

from ptb_lm.data.english import ENGLISH, NOUNS, VERB_CLASSES

ATTRACTORS = (0, 1, 2)

# Seeds of the sentences begin here, beyond those of the corpus and its splits.
_FIRST_SEED = 2**32

_ANIMATE = {noun.name: noun.number for noun in NOUNS}
_INANIMATE = {"PLACE", "LOCATION", "HOUR", "DAY", "FOOD", "FODDER", "TEXT", "BUILDING"}
_PLURALS = {"rivers", "hills", "gates", "trees", "walls", "berries", "apples"}

_FORMS = [("does", "do")] + [
    (singular, plural)
    for verbs in VERB_CLASSES.values()
    for singular, _, plural in (pair.partition("/") for pair in verbs.split())
]
_OTHER_NUMBER = dict(_FORMS) | {plural: singular for singular, plural in _FORMS}


class AgreementPair(NamedTuple):
    """Two sentences that differ in one word, the main verb or its auxiliary.

    Attributes:
      good: the verb has the number of its subject.
      bad: it has the other number, and the sentence is ungrammatical.
      attractors: number of nouns between subject and verb, all of the other number.
    """

    good: str
    bad: str
    attractors: int


def agreement_pairs(count: int, seed: int = 1) -> list[AgreementPair]:
    """Pairs of sentences that the grammar draws, none of them twice.

    A sentence in which a noun of the subject's own number stands before the verb is
    left out, since that noun helps as much as an attractor misleads.

    Args:
      count: of pairs for each number of attractors in `ATTRACTORS`.
      seed: chooses the sentences; those of a seed are a prefix of those of the same
        seed and a larger count. None is drawn for the built-in corpus.

    Returns:
      The pairs, those without attractors first.
    """
    found: dict[int, dict[str, AgreementPair]] = {number: {} for number in ATTRACTORS}
    for words in ENGLISH.sentences(_FIRST_SEED + seed):
        pair = _pair(words)
        if pair and pair.attractors in found and len(found[pair.attractors]) < count:
            found[pair.attractors][pair.good] = pair
        if all(len(pairs) == count for pairs in found.values()):
            break
    return [pair for pairs in found.values() for pair in pairs.values()]


def _pair(words: list[str]) -> AgreementPair | None:
    """The pair of a sentence; None if a noun of the subject's number is between."""
    places = ENGLISH.parse(words)
    subject = next(i for i, above in enumerate(places) if _is_subject(above))
    verb = next(i for i, above in enumerate(places) if _is_verb(above))
    number = _number(words[subject], places[subject][-1])
    between = [
        _number(word, above[-1])
        for word, above in zip(
            words[subject + 1 : verb], places[subject + 1 : verb], strict=True
        )
    ]
    if number in between:
        return None
    bad = [*words[:verb], _OTHER_NUMBER[words[verb]], *words[verb + 1 :]]
    attractors = len(between) - between.count(None)
    return AgreementPair(" ".join(words), " ".join(bad), attractors)


def _is_subject(above: tuple[str, ...]) -> bool:
    """Whether a word under these nonterminals is the head of the main subject."""
    return above[-1] in _ANIMATE and above[-2].startswith("CLAUSE_0_HEAD")


def _is_verb(above: tuple[str, ...]) -> bool:
    """Whether it is the main verb, or the "does" or "do" before that."""
    name = above[-2] if above[-1].endswith(("_SG", "_PL")) else above[-1]
    return name.startswith(("PREDICATE_", "VERB_PHRASE_")) and name.endswith("_0")


def _number(word: str, word_class: str) -> str | None:
    """SG or PL of a noun; None of other words."""
    if word_class in _INANIMATE:
        return "PL" if word in _PLURALS else "SG"
    return _ANIMATE.get(word_class)
