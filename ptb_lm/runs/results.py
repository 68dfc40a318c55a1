"""The results of a run: by epoch, at its end, and on what machine.

Each class is a JSON object in results.json; a figure that a run does not have is
left out there and None here.
"""

import dataclasses
import math
from typing import Any, Self

# What a field of a record may be, by its annotation; other fields check themselves.
_KINDS: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
}
_KINDS |= {kind | None: (*kinds, type(None)) for kind, kinds in _KINDS.items()}


class _Record:
    """A dataclass whose instances are JSON objects; its numbers are figures."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, kinds = getattr(self, field.name), _KINDS.get(field.type)
            if kinds and type(value) not in kinds:
                raise TypeError(f"{field.name} is {value!r:.50}")
            if kinds and isinstance(value, int | float):
                check_figure(field.name, value, kinds)

    def to_json(self) -> dict[str, Any]:
        """The fields that are not None, by name."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
        }
        return {name: _jsonable(v) for name, v in values.items() if v is not None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`; fields that are not known here are left out.

        Raises:
          TypeError, ValueError, LookupError: these are not such values.
        """
        names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: values[name] for name in values if name in names})


def _jsonable(value: Any) -> Any:
    """Records, also in a list or a dict, as JSON has them; anything else as it is."""
    if isinstance(value, _Record):
        return value.to_json()
    if isinstance(value, list):
        return [_jsonable(element) for element in value]
    if isinstance(value, dict):
        return {name: _jsonable(element) for name, element in value.items()}
    return value


def check_figure(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Raises TypeError unless a figure is of a kind, finite and not negative."""
    is_number = type(value) in kinds and 0 <= value < math.inf
    if not is_number or (type(value) is int and value >= 2**63):
        raise TypeError(f"{name} is {value!r:.50}")


@dataclasses.dataclass(frozen=True)
class EpochScores(_Record):
    """What is measured of an epoch.

    Attributes:
      epoch: its number, from 1.
      step: training steps taken by its end.
      learning_rate: of its last step.
      train_perplexity: over its steps, each with the weights before that step.
      valid_perplexity: of the weights at its end, counted as the tutorial counts.
      tokens_per_second: of its training steps.
      wall_seconds: time spent on the run by its end.
      train_bits_per_character: of a model of characters.
      valid_bits_per_character: likewise.
      train_bits_per_byte: of a model of bytes.
      valid_bits_per_byte: likewise.
    """

    epoch: int
    step: int
    learning_rate: float
    train_perplexity: float
    valid_perplexity: float
    tokens_per_second: float
    wall_seconds: float | None = None
    train_bits_per_character: float | None = None
    valid_bits_per_character: float | None = None
    train_bits_per_byte: float | None = None
    valid_bits_per_byte: float | None = None


@dataclasses.dataclass(frozen=True)
class SplitScores(_Record):
    """Scores of one set of weights on valid and test.

    Attributes:
      valid_perplexity: counted as the tutorial counts.
      valid_perplexity_exact: of every token of the validation text except the first.
      test_perplexity: of every token of the test text except the first.
      valid_bits_per_character: of a model of characters, as valid_perplexity.
      test_bits_per_character: of a model of characters, as test_perplexity.
      valid_bits_per_byte: of a model of bytes, as valid_perplexity.
      test_bits_per_byte: of a model of bytes, as test_perplexity.
    """

    valid_perplexity: float
    valid_perplexity_exact: float
    test_perplexity: float
    valid_bits_per_character: float | None = None
    test_bits_per_character: float | None = None
    valid_bits_per_byte: float | None = None
    test_bits_per_byte: float | None = None


@dataclasses.dataclass(frozen=True)
class Change(_Record):
    """What changed where a run was resumed: an option, or a part of the machine.

    Attributes:
      step: training steps taken by then.
      name: an option, with its dashes; or a key of `provenance.rounding`.
      before: its value in the steps up to then.
      after: its value in those that follow.
    """

    step: int
    name: str
    before: bool | int | float | str
    after: bool | int | float | str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {type(self.before), type(self.after)} <= {bool, int, float, str}:
            raise TypeError(f"no change: {vars(self)!r:.50}")


@dataclasses.dataclass(frozen=True)
class TextRecord(_Record):
    """What is recorded of a text that a run was trained or scored on.

    Attributes:
      tokens: number of its tokens.
      unknown_share: share of its tokens that are ``<unk>``.
      digest: fingerprint of its ids.
    """

    tokens: int
    unknown_share: float
    digest: str


@dataclasses.dataclass(frozen=True)
class Results(_Record):
    """What results.json holds.

    Attributes:
      model: preset.
      corpus: short name of the corpus.
      vocabulary_size: number of tokens in the vocabulary.
      parameters: number of trained weights.
      seed: of the run.
      finished: whether the last epoch is done and scored.
      epochs: what was measured after each epoch.
      tokens_per_second: median over the epochs.
      best_epoch: number of the epoch of the lowest valid perplexity, from 1.
      wall_seconds: time spent on the run by all its processes.
      resumed: how often the run was resumed.
      changes: what changed where it was resumed.
      floor_perplexity: the lowest that any model can reach, where it is known.
      texts: split -> what is recorded of it; empty for runs of version 0.1.
      training_flop: floating-point operations of the training steps so far.
      last_weights: scores of the last weights, of a finished run.
      best_weights: scores of the best weights, of a finished run.
      versions: of Python and the packages.
      git_revision: of the project.
      machine: processor, cores, system, GPUs.
    """

    model: str
    corpus: str
    vocabulary_size: int
    parameters: int
    seed: int
    finished: bool
    epochs: list[EpochScores]
    tokens_per_second: float
    best_epoch: int | None
    wall_seconds: float
    resumed: int
    changes: list[Change] = dataclasses.field(default_factory=list)
    floor_perplexity: float | None = None
    texts: dict[str, TextRecord] = dataclasses.field(default_factory=dict)
    training_flop: int | None = None
    last_weights: SplitScores | None = None
    best_weights: SplitScores | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    git_revision: str | None = None
    machine: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `_Record.to_json`, with null where there is no floor, best or revision."""
        always = ("best_epoch", "floor_perplexity", "git_revision")
        return dict.fromkeys(always) | super().to_json()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """As `_Record.from_json`; also of results that older versions wrote."""
        records = {
            name: SplitScores.from_json(values[name])
            for name in ("last_weights", "best_weights")
            if values.get(name)
        }
        lists = {
            "epochs": [EpochScores.from_json(each) for each in values["epochs"]],
            "changes": [Change.from_json(each) for each in values.get("changes", [])],
        }
        texts = {
            split: TextRecord.from_json(text)
            for split, text in values.get("texts", {}).items()
        }
        return super().from_json(values | records | lists | {"texts": texts})
