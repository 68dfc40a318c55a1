"""Every option of the project, once: default, unit, help and validation.

The command line makes one flag of each field here and a preset in ``flags/``
sets some of them; nothing else defines an option. Neither TensorFlow nor absl
is imported, so that ``--help`` answers at once and a notebook can build a
configuration without touching ``sys.argv``.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

from ptb_lm.errors import UserError
from ptb_lm.options import Validated, format_value, option, parse_bool
from ptb_lm.registry import (
    CELLS,
    DROPOUTS,
    MODES,
    OPTIMIZERS,
    SCHEDULES,
)

PTB_URL = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"


@dataclasses.dataclass(frozen=True)
class RunConfig(Validated):
    """What to do, and in which folder."""

    mode: str = option(
        "train",
        f"What to do: {MODES.listed()}.",
        choices=MODES,
        defines_run=False,
        common=True,
    )
    model: str = option(
        "small",
        "Preset: loads flags/NAME.flags; flags typed by you win over it.",
        common=True,
    )
    save_path: str = option(
        "",
        "Folder of the run. Starting again on the same folder resumes it."
        " Empty: runs/MODEL-CORPUS.",
        defines_run=False,
        common=True,
    )
    save_every_steps: int = option(
        500,
        "Training steps between checkpoints; one is also written after every"
        " epoch. 0: only then.",
        minimum=0,
        defines_run=False,
    )
    keep_checkpoints: int = option(
        2,
        "Last checkpoints kept, besides the best; with 1 there is none to fall back"
        " to when it is damaged.",
        minimum=1,
        defines_run=False,
    )
    log_every_steps: int = option(
        100,
        "Training steps between points of the TensorBoard curves.",
        minimum=1,
        defines_run=False,
    )


@dataclasses.dataclass(frozen=True)
class DataConfig(Validated):
    """Where the text comes from and how it becomes tokens."""

    data_path: str = option(
        "",
        "Corpus: a folder with ptb.{train,valid,test}.txt or"
        " {train,valid,test}.txt; one text file, split 90/5/5 by lines; 'ptb', to"
        " download the Penn Treebank once. Empty: the built-in corpus.",
        defines_run=False,
        common=True,
    )
    token_type: str = option(
        "word",
        "What a token is: word (separated by white space, <eos> at line ends) or"
        " char (every character, the line feed included; a folder's"
        " ptb.char.{train,valid,test}.txt, where it has them, are read first).",
        choices=("word", "char"),
        common=True,
    )
    normalize: str = option(
        "none",
        "What is done to a text before it is read, a prompt too: none, or letters"
        " (lower-case a to z; all between them, line ends too, becomes one blank).",
        choices=("none", "letters"),
    )
    max_tokens: int = option(
        0,
        "Training tokens used, the first of the text; the vocabulary is that of the"
        " whole text. 0: all.",
        minimum=0,
    )
    max_vocab_size: int = option(
        0,
        "Tokens kept, the most frequent of the training text; rarer ones become"
        " <unk>. 0: all tokens.",
        minimum=0,
        common=True,
    )
    ptb_url: str = option(
        PTB_URL,
        "Address of simple-examples.tgz for --data_path=ptb.",
        defines_run=False,
    )
    cache_dir: str = option(
        "",
        "Folder for the downloaded corpus and for encoded corpora. Empty:"
        " $PTB_LM_CACHE, else $XDG_CACHE_HOME/ptb_lm, else ~/.cache/ptb_lm.",
        defines_run=False,
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig(Validated):
    """Shape and initialization of the network."""

    hidden_size: int = option(
        200,
        "Units of each layer and width of the embedding.",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
    )
    num_layers: int = option(
        2,
        "Number of stacked recurrent layers.",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
    )
    cell: str = option(
        "lstm",
        f"Recurrent cell: {CELLS.listed()}.",
        choices=CELLS,
        common=True,
    )
    keep_prob: float = option(
        1.0,
        "Probability that dropout keeps a unit, in the embedding and in the output"
        " of every layer.",
        above=0.0,
        maximum=1.0,
        common=True,
    )
    dropout: str = option(
        "step",
        f"Masks of dropout: {DROPOUTS.listed()}.",
        choices=DROPOUTS,
    )
    init_scale: float = option(
        0.1,
        "Weights start uniform in [-init_scale, init_scale]; the layers' biases at"
        " zero.",
        minimum=0.0,
    )
    forget_bias: float = option(
        0.0,
        "Where the bias of the LSTM's forget gate starts; 1 lets a young network"
        " remember (Gers et al. 2000).",
        minimum=0.0,
    )
    tied: bool = option(
        False,
        "Use the embedding as the softmax weights (Press and Wolf, 2017).",
        common=True,
    )
    rnn_mode: str = option(
        "auto",
        "Recurrent kernel: fused (this project's), keras (Keras's own loop; cuDNN on a"
        " GPU), or auto: keras on a GPU, else fused.",
        choices=("auto", "fused", "keras"),
    )
    dtype: str = option(
        "float32",
        "Type that matrices are multiplied in: float32 or bfloat16. All else, the"
        " loss and its sums included, is float32.",
        choices=("float32", "bfloat16"),
    )


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Validated):
    """Batches, loss, optimizer and schedule."""

    batch_size: int = option(
        20,
        "Streams of text read in parallel.",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
    )
    num_steps: int = option(
        20,
        "Time steps of backpropagation through time, in tokens.",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
    )
    windows: str = option(
        "sequential",
        "Training text is read sequential (in order, the state carried from window"
        " to window) or random (windows from a random offset in random order, another"
        " one every epoch, each from a zero state).",
        choices=("sequential", "random"),
    )
    loss_scale: str = option(
        "sum",
        "Loss whose gradient is taken, in nats: sum (over the time steps, averaged"
        " over the batch, as in the tutorial) or mean (averaged over both). Learning"
        " rate and clipping are meant for one of them; perplexities do not change.",
        choices=("sum", "mean"),
    )
    optimizer: str = option(
        "sgd",
        f"Update rule: {OPTIMIZERS.listed()}.",
        choices=OPTIMIZERS,
    )
    learning_rate: float = option(
        1.0,
        "Initial learning rate.",
        above=0.0,
        common=True,
    )
    schedule: str = option(
        "tutorial",
        f"How the learning rate changes: {SCHEDULES.listed()}.",
        choices=SCHEDULES,
    )
    lr_decay: float = option(
        0.5,
        "Factor on the learning rate for every epoch after the full rate.",
        above=0.0,
        maximum=1.0,
    )
    max_epoch: int = option(
        4,
        "Epochs trained with the initial learning rate, one more with"
        " --schedule=zaremba.",
        minimum=0,
    )
    max_max_epoch: int = option(
        13,
        "Epochs trained in all.",
        minimum=1,
        common=True,
    )
    max_grad_norm: float = option(
        5.0, "Gradients are scaled down to this global norm, at most.", above=0.0
    )
    early_stopping: int = option(
        0,
        "Stop after this many epochs without a better valid perplexity. 0: never.",
        minimum=0,
        common=True,
    )
    init_from: str = option(
        "", "Run folder whose best weights are the starting point. Empty: none."
    )
    seed: int = option(
        1,
        "Seed of the initial weights, dropout, random windows and generated text.",
        minimum=0,
        maximum=2**31 - 1,
        common=True,
    )


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Validated):
    """What --mode=evaluate scores, and how tokens are counted."""

    split: str = option(
        "test",
        "Part of the corpus to evaluate: train, valid or test.",
        choices=("train", "valid", "test"),
        defines_run=False,
        common=True,
    )
    text_file: str = option(
        "",
        "Text file to evaluate instead of a part of the corpus, or to score, one"
        " sentence a line.",
        defines_run=False,
        common=True,
    )
    weights: str = option(
        "best",
        "Weights to evaluate, sample, score or export: best (lowest valid"
        " perplexity) or last.",
        choices=("best", "last"),
        defines_run=False,
    )
    counting: str = option(
        "exact",
        "exact: every predictable token, one stream. tutorial: streams of"
        " batch_size, the tail that fills no window dropped.",
        choices=("exact", "tutorial"),
        defines_run=False,
    )
    evaluate_on_interrupt: bool = option(
        False,
        "When Ctrl-C stops the training, and all is saved, score valid and test with"
        " the weights of that moment; a second Ctrl-C stops at once.",
        defines_run=False,
    )


@dataclasses.dataclass(frozen=True)
class GenerationConfig(Validated):
    """What --mode=sample generates and --mode=score scores, and how it is shown."""

    prompt: str = option(
        "-",
        "Text to go on from; empty: the start of a sentence. -: asks for prompts on"
        " a terminal, else one prompt a line from standard input.",
        defines_run=False,
        common=True,
    )
    num_tokens: int = option(
        100,
        "Tokens to draw for each text.",
        minimum=1,
        maximum=2**31 - 1,
        defines_run=False,
        common=True,
    )
    num_samples: int = option(
        1,
        "Texts to generate for each prompt; the i-th text of the command, from 0, is"
        " drawn with seed + i.",
        minimum=1,
        defines_run=False,
        common=True,
    )
    temperature: float = option(
        1.0,
        "Divides the logits: below 1 likely tokens become likelier; 0 always takes"
        " the likeliest.",
        minimum=0.0,
        defines_run=False,
        common=True,
    )
    top_k: int = option(
        0,
        "Draw among this many likeliest tokens only. 0: all.",
        minimum=0,
        maximum=2**31 - 1,
        defines_run=False,
    )
    top_p: float = option(
        1.0,
        "Draw among the likeliest tokens that together have this probability only.",
        above=0.0,
        maximum=1.0,
        defines_run=False,
    )
    allow_unknown: bool = option(
        False, "Whether <unk> may be drawn.", defines_run=False
    )
    text: str = option(
        "-",
        "Text to score. -: that of standard input.",
        defines_run=False,
        common=True,
    )
    each_line: bool = option(
        False,
        "Score each line by itself, as a sentence after <eos>, all of its tokens;"
        " else all lines as one text, of which the first token has nothing before it"
        " and is not counted, as --mode=evaluate does.",
        defines_run=False,
    )
    format: str = option(
        "text",
        "Output of sample and score: text, or json (one object a line).",
        choices=("text", "json"),
        defines_run=False,
    )


@dataclasses.dataclass(frozen=True)
class TensorBoardConfig(Validated):
    """What TensorBoard shows besides the curves."""

    sample_tokens: int = option(
        30,
        "Tokens that the model adds to each prompt after every epoch, on the page"
        " Text. 0: no text.",
        minimum=0,
        maximum=2**31 - 1,
        defines_run=False,
    )
    sample_prompts: str = option(
        "",
        "The prompts of these texts, with | between them. Empty: the beginnings of"
        " three valid sentences.",
        defines_run=False,
    )
    histograms_every_steps: int = option(
        0,
        "Training steps between histograms of the weights and gradients. 0: none.",
        minimum=0,
        defines_run=False,
    )
    profile_steps: str = option(
        "",
        "FIRST,LAST: training steps, counted from 1, whose profile is recorded for"
        " the page Profile. Empty: none.",
        defines_run=False,
    )


@dataclasses.dataclass(frozen=True)
class LookConfig(Validated):
    """What --mode=neighbours and --mode=report show."""

    words: str = option(
        "",
        "Words, with blanks between them, whose neighbours are listed. Empty: the"
        " ten most frequent ones.",
        defines_run=False,
        common=True,
    )
    num_neighbours: int = option(
        6, "Neighbours listed for each word.", minimum=1, defines_run=False
    )
    figures_path: str = option(
        "",
        "Folder for the figures of a report. Empty: figures, in the folder of the"
        " runs.",
        defines_run=False,
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """The complete configuration of one command."""

    run: RunConfig = dataclasses.field(default_factory=RunConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    tensorboard: TensorBoardConfig = dataclasses.field(
        default_factory=TensorBoardConfig
    )
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    generation: GenerationConfig = dataclasses.field(default_factory=GenerationConfig)
    look: LookConfig = dataclasses.field(default_factory=LookConfig)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "Config":
        """Builds a configuration from a flat mapping of option names to values.

        Args:
          values: any subset of the options; the others keep their defaults.

        Raises:
          UserError: a value breaks its option's rule.
        """
        groups = {}
        for group_name, group in get_type_hints(cls).items():
            names = {field.name for field in dataclasses.fields(group)}
            groups[group_name] = group(
                **{name: values[name] for name in names & values.keys()}
            )
        return cls(**groups)

    @classmethod
    def from_text(cls, text: str, source: str) -> "Config":
        """Reads the lines ``--name=value`` that a run's flags.txt holds.

        Args:
          text: the lines; options that are not among them keep their defaults.
          source: what to call the text in an error.

        Raises:
          UserError: a line names no option, or its value is not allowed.
        """
        defaults = cls().values()
        values = {}
        for line in text.splitlines():
            name, _, value = line.removeprefix("--").partition("=")
            if name not in defaults:
                raise UserError(f"{source}: {line!r} is not an option of this version")
            parse = (
                parse_bool if isinstance(defaults[name], bool) else type(defaults[name])
            )
            try:
                values[name] = parse(value)
            except ValueError as error:
                raise UserError(f"{source}: {line!r} is not a value: {error}") from None
        return cls.from_values(values)

    def to_text(self) -> str:
        """The configuration as lines ``--name=value``, an absl flagfile.

        The mode and the run's own place are left out.
        """
        return "".join(
            f"--{name}={format_value(value)}\n"
            for name, value in self.values().items()
            if name not in ("save_path", "mode")
        )

    def values(self) -> dict[str, Any]:
        """Flat mapping of every option's name to its value."""
        return {field.name: getattr(group, field.name) for group, field in _walk(self)}

    def run_values(self) -> dict[str, Any]:
        """Only the options that make a run what it is."""
        return {
            field.name: getattr(group, field.name)
            for group, field in _walk(self)
            if field.metadata["defines_run"]
        }


def _walk(config: Config) -> Iterator[tuple[Any, dataclasses.Field]]:
    for group in dataclasses.fields(config):
        group_value = getattr(config, group.name)
        for field in dataclasses.fields(group_value):
            yield group_value, field


def option_groups() -> list[tuple[str, list[dataclasses.Field]]]:
    """The options by group, in the order of ``--helpfull``: (heading, fields)."""
    groups = get_type_hints(Config).values()
    return [(group.__doc__, list(dataclasses.fields(group))) for group in groups]
