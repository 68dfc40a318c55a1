"""The seams: every kind of part that has several members, a line for each member.

A registry maps a name, as an option gives it, to a member. A member of the project is
one line here, "module:attribute", imported when it is first asked for, so that this
module needs none of them; all other facts of the member stand in its own file. A
member from outside the package is registered by a call:

    from ptb_lm.registry import CELLS
    CELLS.register("mine", MyCell(), "a cell of mine")

after which ``--cell=mine`` is an option's value like any other.
"""

import importlib
from collections.abc import Iterator
from typing import Any

from ptb_lm.errors import UserError


class Registry:
    """Members of one kind by name, in the order in which they are listed."""

    def __init__(self, kind: str, **members: tuple[str, str]):
        """Lists the project's own members.

        Args:
          kind: what they are, in an error: "cell".
          **members: name -> ("module:attribute", description). The description is a
            part of a sentence in ``--help``.
        """
        self.kind = kind
        self._members: dict[str, Any] = {}
        self._places = {name: place for name, (place, _) in members.items()}
        self._descriptions = {name: text for name, (_, text) in members.items()}

    def register(self, name: str, member: Any, description: str = "") -> None:
        """Adds a member.

        Args:
          name: as an option gives it.
          member: what a member of this kind is, see the room of the kind.
          description: for ``--help``.

        Raises:
          ValueError: the name is taken.
        """
        if name in self:
            raise ValueError(f"there is a {self.kind} {name!r} already")
        self._members[name] = member
        self._descriptions[name] = description

    def unregister(self, name: str) -> None:
        """Takes back what `register` added; KeyError where it did not."""
        del self._members[name], self._descriptions[name]

    def __getitem__(self, name: str) -> Any:
        """The member of a name; UserError where there is none."""
        if name not in self:
            raise UserError(f"no {self.kind} {name!r}; there are {', '.join(self)}")
        if name not in self._members:
            module, _, attribute = self._places[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        return name in self._descriptions

    def __len__(self) -> int:
        return len(self._descriptions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._descriptions)

    def listed(self) -> str:
        """The names with their descriptions, for ``--help``."""
        return "; ".join(
            f"{name} ({text})" if text else name
            for name, text in self._descriptions.items()
        )


CELLS = Registry(
    "cell",
    lstm=("ptb_lm.model.lstm:CELL", "Hochreiter and Schmidhuber 1997"),
    gru=("ptb_lm.model.gru:CELL", "Cho et al. 2014"),
    rnn=("ptb_lm.model.simple:CELL", "Elman 1990"),
)
DROPOUTS = Registry(
    "dropout",
    step=("ptb_lm.model.dropout:STEP", "a new mask at every time step"),
    sequence=(
        "ptb_lm.model.dropout:SEQUENCE",
        "one mask for all time steps of a window, Gal and Ghahramani 2016",
    ),
)
OPTIMIZERS = Registry(
    "optimizer",
    sgd=("ptb_lm.training.optimizers.sgd:SGD", ""),
    momentum=("ptb_lm.training.optimizers.momentum:Momentum", "of 0.9"),
    adam=("ptb_lm.training.optimizers.adam:Adam", "Kingma and Ba 2015"),
    adamw=(
        "ptb_lm.training.optimizers.adamw:AdamW",
        "with decoupled weight decay, Loshchilov and Hutter 2019",
    ),
)
SCHEDULES = Registry(
    "schedule",
    tutorial=(
        "ptb_lm.training.schedules:Tutorial",
        "max_epoch epochs at the full rate, as in the later form of the tutorial",
    ),
    zaremba=(
        "ptb_lm.training.schedules:Zaremba",
        "max_epoch + 1 epochs, as in Zaremba's code and the first form of the"
        " tutorial, whose perplexities are the published ones",
    ),
    constant=("ptb_lm.training.schedules:Constant", ""),
    plateau=(
        "ptb_lm.training.schedules:Plateau",
        "lr_decay times less when valid has not improved for patience epochs",
    ),
    linear=("ptb_lm.training.schedules:Linear", "warm-up, then down in a line"),
    cosine=(
        "ptb_lm.training.schedules:Cosine",
        "warm-up, then down in half a cosine, Loshchilov and Hutter 2017",
    ),
    one_cycle=(
        "ptb_lm.training.schedules:OneCycle",
        "the same from a 25th of the rate, with --warmup=0.3 or so, Smith 2018",
    ),
)
AVERAGES = Registry(
    "average",
    none=("ptb_lm.training.averages:NoAverage", "the weights of the last step"),
    ema=("ptb_lm.training.averages:EMA", "exponential moving average"),
    nt_asgd=(
        "ptb_lm.training.averages:NTASGD",
        "mean since valid stopped improving, Merity et al. 2017",
    ),
)
METHODS = Registry(
    "evaluation method",
    plain=("ptb_lm.evaluation.plain:Plain", "what the model says"),
)
EXPORT_FORMATS = Registry(
    "export format",
    saved_model=("ptb_lm.export.saved_model:FORMAT", "for TensorFlow alone"),
    keras=("ptb_lm.export.keras_file:FORMAT", "for Keras"),
)
MODES = Registry(
    "mode",
    train=("ptb_lm.commands.train:run", "and evaluate"),
    evaluate=("ptb_lm.commands.evaluate:run", "the perplexity of a trained run"),
    sample=("ptb_lm.commands.sample:run", "text generated by it"),
    score=("ptb_lm.commands.score:run", "a text, token by token"),
    neighbours=("ptb_lm.commands.neighbours:run", "the nearest words of its embedding"),
    export=("ptb_lm.commands.export:run", "its weights in other formats"),
    report=(
        "ptb_lm.commands.report:run",
        "the results table and the figures of the runs in a folder",
    ),
)
