"""The registries: every kind of component that an option chooses by name.

A registry maps names, the values of an option, to members. A member of the project has
one line here, "module:attribute"; its own file holds everything else about it. The
registry imports that file when a program first asks for the member, so this module
imports none of them. Code outside the package adds a member by a call:

    from ptb_lm.registry import CELLS
    CELLS.register("mine", MyCell(), "a cell of mine")

From then on ``--cell=mine`` works, in this process, and ``--help`` lists it. The option
``--plugin`` runs a file that makes such calls.
"""

import importlib
import importlib.util
import pathlib
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from ptb_lm.errors import UserError


class Registry:
    """Members of one kind by name, in the order in which they are listed."""

    def __init__(self, kind: str, **members: tuple[str, str]):
        """Lists the project's own members.

        Args:
          kind: what a member is, such as "cell"; error messages say it.
          **members: name -> ("module:attribute", description). ``--help`` prints the
            description in parentheses after the name.
        """
        self.kind = kind
        self._members: dict[str, Any] = {}
        self._places = {name: place for name, (place, _) in members.items()}
        self._descriptions = {name: text for name, (_, text) in members.items()}

    def register(self, name: str, member: Any, description: str = "") -> None:
        """Adds a member.

        Args:
          name: the option's value that chooses the member.
          member: an instance, a class or a function, as the docstring of the kind
            says (`Cell`, `Softmax`, `Dropout`, `Optimizer`, `Schedule`, `Average`,
            `Method`, `ExportFormat`, `Mode`).
          description: as in the constructor.

        Raises:
          ValueError: the name is taken.
        """
        if name in self:
            raise ValueError(f"there is a {self.kind} {name!r} already")
        self._members[name] = member
        self._descriptions[name] = description

    def unregister(self, name: str) -> None:
        """Removes a member that `register` added; KeyError if it added none."""
        del self._members[name], self._descriptions[name]

    def __getitem__(self, name: str) -> Any:
        """The member of this name; UserError if there is none."""
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
    mogrifier=("ptb_lm.model.mogrifier:CELL", "Melis et al. 2020"),
)
SOFTMAXES = Registry(
    "softmax",
    full=("ptb_lm.model.full_softmax:FullSoftmax", "one over the vocabulary"),
    sampled=(
        "ptb_lm.model.full_softmax:SampledSoftmax",
        "the same, but trained on samples of the vocabulary; Jean et al. 2015",
    ),
    adaptive=(
        "ptb_lm.model.adaptive_softmax:AdaptiveSoftmax",
        "frequent tokens and clusters of rarer ones, for large vocabularies; Grave et"
        " al. 2017",
    ),
)
DROPOUTS = Registry(
    "dropout",
    step=("ptb_lm.model.dropout:STEP", "a new mask at every time step"),
    sequence=(
        "ptb_lm.model.dropout:SEQUENCE",
        "one mask for all time steps of a window; Gal and Ghahramani 2016",
    ),
)
OPTIMIZERS = Registry(
    "optimizer",
    sgd=("ptb_lm.training.optimizers.sgd:SGD", "no momentum"),
    momentum=("ptb_lm.training.optimizers.momentum:Momentum", "SGD with momentum 0.9"),
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
        "max_epoch epochs at the initial rate, as in the later form of the tutorial",
    ),
    zaremba=(
        "ptb_lm.training.schedules:Zaremba",
        "max_epoch + 1 epochs at the initial rate, as in Zaremba's code and the first"
        " form of the tutorial, which reached the published perplexities",
    ),
    constant=("ptb_lm.training.schedules:Constant", ""),
    plateau=(
        "ptb_lm.training.schedules:Plateau",
        "times lr_decay after patience epochs without a better valid perplexity",
    ),
    linear=("ptb_lm.training.schedules:Linear", "a warm-up, then a linear fall"),
    cosine=(
        "ptb_lm.training.schedules:Cosine",
        "a warm-up, then a fall along half a cosine; Loshchilov and Hutter 2017",
    ),
    one_cycle=(
        "ptb_lm.training.schedules:OneCycle",
        "as cosine, from 1/25 of the rate; give it a long warm-up, such as 0.3;"
        " Smith 2018",
    ),
)
AVERAGES = Registry(
    "average",
    none=("ptb_lm.training.averages:NoAverage", "those of the last step"),
    ema=("ptb_lm.training.averages:EMA", "their exponential moving average"),
    nt_asgd=(
        "ptb_lm.training.averages:NTASGD",
        "their mean since the valid perplexity stopped improving; Merity et al. 2017",
    ),
)
METHODS = Registry(
    "evaluation method",
    plain=("ptb_lm.evaluation.plain:Plain", "the probability that the model gives"),
)
EXPORT_FORMATS = Registry(
    "export format",
    saved_model=("ptb_lm.export.saved_model:FORMAT", "needs TensorFlow alone"),
    keras=("ptb_lm.export.keras_file:FORMAT", "Keras's own file"),
    onnx=("ptb_lm.export.onnx_folder:FORMAT", "needs onnxruntime, or the like"),
    litert=("ptb_lm.export.litert:FORMAT", "for phones; needs LiteRT alone"),
    arpa=("ptb_lm.export.arpa:FORMAT", "n-grams of the training text, for KenLM"),
)
MODES = Registry(
    "mode",
    train=("ptb_lm.commands.train:MODE", "trains a model, then evaluates it"),
    evaluate=("ptb_lm.commands.evaluate:MODE", "prints the perplexity of a text"),
    sample=("ptb_lm.commands.sample:MODE", "generates text"),
    score=("ptb_lm.commands.score:MODE", "prints the surprisal of each token"),
    rescore=("ptb_lm.commands.rescore:MODE", "sorts n-best lists"),
    pairs=("ptb_lm.commands.pairs:MODE", "judges minimal pairs"),
    features=("ptb_lm.commands.features:MODE", "writes the last layer's states"),
    neighbours=(
        "ptb_lm.commands.neighbours:MODE",
        "lists the words with the nearest embeddings",
    ),
    export=("ptb_lm.commands.export:MODE", "writes the weights in other formats"),
    report=(
        "ptb_lm.commands.report:MODE",
        "prints the results table of the runs in a folder, and draws their figures",
    ),
)
LOADED_PLUGINS: set[str] = set()  # as --plugin named them


def load_plugin(name: str) -> None:
    """Runs code that registers members, unless this process has run it already.

    Args:
      name: a file that ends in .py, or the name of a module that Python can import.

    Raises:
      UserError: there is no such file or module, or its code raises.
    """
    if name in LOADED_PLUGINS:
        return
    path = pathlib.Path(name).expanduser()
    is_file = name.endswith(".py")
    if is_file and not path.is_file():
        raise UserError(f"--plugin={name}: no such file")
    try:
        if is_file:
            _run_file(path)
        else:
            importlib.import_module(name)
    except Exception as error:  # the code of a plugin may raise anything
        raise UserError(f"--plugin={name}: {_told(error)}") from error
    LOADED_PLUGINS.add(name)


def _run_file(path: pathlib.Path) -> None:
    """Imports a file as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"ptb_lm_plugin_{path.stem}", path)
    assert spec and spec.loader, "the path ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look a module up by its name
    spec.loader.exec_module(module)


def _told(error: Exception) -> str:
    """An exception and its place outside this package, in one line."""
    inside = [str(pathlib.Path(m).parent) for m in (__file__, importlib.__file__)]
    places = [
        f"{frame.filename}, line {frame.lineno}: "
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*inside, "<frozen"))
    ]
    if isinstance(error, SyntaxError):
        places.append(f"{error.filename}, line {error.lineno}: ")
    text = " ".join(str(error).split())
    return f"{places[-1] if places else ''}{type(error).__name__}: {text}"
