"""What a model expects at every place of a text, and after it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ptb_lm.inference.scored_text import ScoredText
from ptb_lm.inference.text_model import TextModel

STRETCH = 32  # tokens read in one call, whose distributions are in memory together

Expected = list[
    tuple[str, float]
]  # tokens and their probabilities, the likeliest first


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a model says of a sequence of ids, and where it can go on from.

    Attributes:
      model: that read them.
      num_expected: likeliest tokens that are named at every place.
      ids: int32 [t].
      nats: of each id but the first, -log p.
      expected: in place of each of these ids, the likeliest tokens.
      states: place -> state before the id at that place, float32 [1, width].
      next_log_probabilities: of the id after the last, in nats, float32 [vocabulary];
        None where there are no ids.
    """

    model: TextModel
    num_expected: int
    ids: np.ndarray
    nats: list[float]
    expected: list[Expected]
    states: dict[int, np.ndarray]
    next_log_probabilities: np.ndarray | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction(ScoredText):
    """A scored text, with what the model expected in place of each token.

    Attributes:
      expected: for each token the likeliest ones at its place; empty where nothing
        comes before it.
      reading: of the text and of the line end before it.
    """

    expected: list[Expected]
    reading: Reading = dataclasses.field(repr=False)

    @property
    def next_log_probabilities(self) -> np.ndarray | None:
        """Of the token after the text, by id, in nats: float32 [vocabulary].

        None where nothing comes before it: no text, and no line end.
        """
        return self.reading.next_log_probabilities


def read_ids(
    model: TextModel,
    tokens: Sequence[str],
    ids: np.ndarray,
    num_expected: int,
    previous: Reading | None = None,
) -> Reading:
    """Reads ids from a zero state.

    Args:
      model: the model.
      tokens: of its vocabulary, in id order.
      ids: int32 [t].
      num_expected: as in `Reading`; at most all tokens are named.
      previous: another reading. If it is of this model and has as many expected tokens,
        only the ids that it lacks are read; if others follow in it, also those since
        the last kept state before they part.
    """
    reading = _shared(model, ids, num_expected, previous)
    nats, expected = list(reading.nats), list(reading.expected)
    states, following = dict(reading.states), reading.next_log_probabilities
    for begin in range(len(reading.ids), len(ids), STRETCH):
        stretch = ids[begin : begin + STRETCH]
        read = model.step(stretch[None], states[begin])
        states[begin + len(stretch)] = read["state"].numpy()
        logs = read["log_probabilities"].numpy()[0]
        rows, targets = logs[:-1], stretch[1:]
        if following is not None:
            rows, targets = np.concatenate([following[None], rows]), stretch
        nats += (-rows[np.arange(len(rows)), targets]).tolist()
        expected += [likeliest(tokens, row, num_expected) for row in rows]
        following = logs[-1]
    return Reading(model, num_expected, ids, nats, expected, states, following)


def _shared(
    model: TextModel, ids: np.ndarray, num_expected: int, previous: Reading | None
) -> Reading:
    """What a previous reading has of these ids, up to a place with a kept state.

    Where the distribution of the id at that place was not kept, its score was.
    """
    if (
        previous is None
        or previous.model is not model
        or previous.num_expected != num_expected
    ):
        zero = model.initial_state(1)["state"].numpy()
        return Reading(model, num_expected, ids[:0], [], [], {0: zero}, None)
    length = min(len(ids), len(previous.ids))
    differ = np.flatnonzero(ids[:length] != previous.ids[:length])
    shared = int(differ[0]) if len(differ) else length
    if shared == len(previous.ids):
        return previous
    # The last shared id is read again, because what follows it was not kept.
    start = max((place for place in previous.states if place < shared), default=0)
    states = {k: state for k, state in previous.states.items() if k <= start}
    return dataclasses.replace(
        previous,
        ids=ids[:start],
        nats=previous.nats[:start],
        expected=previous.expected[:start],
        states=states,
        next_log_probabilities=None,
    )


def likeliest(
    tokens: Sequence[str], log_probabilities: np.ndarray, count: int
) -> Expected:
    """The likeliest tokens, at most `count`.

    Args:
      tokens: in id order.
      log_probabilities: by id, in nats, float32 [vocabulary].
      count: how many.
    """
    count = min(count, len(tokens))
    best = np.argpartition(-log_probabilities, count - 1)[:count]
    best = best[np.lexsort((best, -log_probabilities[best]))]
    return [(tokens[index], float(np.exp(log_probabilities[index]))) for index in best]
