"""Every option of the project, once: default, unit, help and validation.

The command line makes a flag of each field here, and a preset in ``flags/`` sets some
of them. Nothing else defines an option. The docstring of a group is its heading in
``--help``. This module imports neither TensorFlow nor absl, so that ``--help`` answers
at once and a notebook can build a configuration without ``sys.argv``.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

from ptb_lm.errors import UserError
from ptb_lm.options import (
    Validated,
    format_value,
    option,
    parse_bool,
    parse_cutoffs,
    parse_devices,
    parse_distribution,
    parse_sizes,
    parse_weights,
)
from ptb_lm.registry import (
    AVERAGES,
    CELLS,
    DROPOUTS,
    EXPORT_FORMATS,
    LOADED_PLUGINS,
    METHODS,
    MODES,
    OPTIMIZERS,
    SCHEDULES,
    SOFTMAXES,
)

# What flags.txt leaves out.
NOT_RECORDED = ("mode", "save_path", "change_options")
RETIRED = ("allow_unknown",)  # options of older flags.txt files that nothing reads now
# Options that bytes do not read -> the values that ask for nothing.
BYTES_DO_NOT_READ: dict[str, tuple[Any, ...]] = {
    "normalize": ("none",),
    "max_vocab_size": (0,),
    "min_count": (0, 1),
}
PTB_URL = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"


@dataclasses.dataclass(frozen=True)
class RunConfig(Validated):
    """Command and run folder."""

    mode: str = option(
        "train",
        "What the command does: {members}.",
        choices=MODES,
        defines_run=False,
        common=True,
    )
    model: str = option(
        "small",
        "Preset: reads the options in flags/NAME.flags. Options that you type override"
        " them.",
        common=True,
    )
    plugin: str = option(
        "",
        "Python file of yours, or module, that registers cells, schedules or other"
        " members; the program runs it. Type it with every command that reads the run:"
        " from a flagfile, or from the run, no plugin is run.",
        defines_run=False,
        common=True,
        since=2,
    )
    save_path: str = option(
        "",
        "Folder of the run. Training in the folder of a stopped run resumes it, with"
        " the run's own options. report reads all runs in this folder. Empty:"
        " runs/MODEL-CORPUS; for report, runs.",
        known_as="output output_dir out_dir save_dir logdir run_dir checkpoint_dir",
        defines_run=False,
        common=True,
    )
    save_every_steps: int = option(
        500,
        "Training steps from one checkpoint to the next. The end of an epoch writes one"
        " too. 0: only the end of an epoch.",
        known_as="save_every checkpoint_every",
        minimum=0,
        defines_run=False,
    )
    keep_checkpoints: int = option(
        2,
        "Number of last checkpoints to keep, besides the best. With 1, a run whose last"
        " checkpoint is damaged has none to resume from.",
        minimum=1,
        defines_run=False,
        since=2,
    )
    strict_resume: bool = option(
        False,
        "Whether training refuses to resume a run where it cannot give the bits of an"
        " uninterrupted one: with other threads, another processor or other versions."
        " If not, it says so and resumes.",
        defines_run=False,
        since=2,
    )
    change_options: bool = option(
        False,
        "Whether the options that you type may change the run that is resumed, from"
        " its last checkpoint on. Only options that concern the steps to come can"
        " change, such as learning_rate or early_stopping; max_max_epoch always can.",
        defines_run=False,
        since=2,
    )
    log_every_steps: int = option(
        100,
        "Training steps from one point of TensorBoard's curves to the next.",
        known_as="log_every log_interval",
        minimum=1,
        defines_run=False,
    )
    devices: str = option(
        "1",
        "Devices that share each batch: how many (GPUs, else parts of the CPU), all,"
        " gpu or cpu.",
        known_as="device num_devices num_gpus n_gpus ngpu gpus nproc_per_node",
        parse=parse_devices,
        defines_run=False,
        since=2,
    )
    join_timeout: int = option(
        300,
        "Seconds that a training on several machines (TF_CONFIG) waits until all of"
        " them are there.",
        minimum=1,
        maximum=86_400,
        defines_run=False,
        since=2,
    )


@dataclasses.dataclass(frozen=True)
class DataConfig(Validated):
    """Corpus, tokens and vocabulary."""

    data_path: str = option(
        "",
        "Corpus: a folder with ptb.{train,valid,test}.txt or {train,valid,test}.txt,"
        " or with shards (train-*.txt or train/*.txt and so on, also .gz); or text"
        " files, separated by commas, also patterns such as 'books/*.txt', whose lines"
        " (or bytes), one file after the other, are split 90/5/5; or ptb, which"
        " downloads the Penn Treebank once. Empty: the built-in corpus.",
        known_as="data data_dir dataset corpus input input_file",
        defines_run=False,
        common=True,
    )
    token_type: str = option(
        "word",
        "What a token is: word (white space separates words, and each line end is the"
        " token <eos>); char (every character, the line feed included; if a folder has"
        " ptb.char.{train,valid,test}.txt, the program reads these); byte (every byte:"
        " 256 tokens for any file and any language, and none is unknown).",
        choices=("word", "char", "byte"),
        common=True,
    )
    normalize: str = option(
        "none",
        "Change to every text and prompt before it is split into tokens: none; letters"
        " (letters become lower-case a to z, and everything between two of them, line"
        " ends included, becomes one space).",
        choices=("none", "letters"),
        since=2,
    )
    vocabulary_from: str = option(
        "",
        "Folder of a run whose vocabulary to use, so that --init_from can start from"
        " its weights. Empty: the vocabulary of the training text.",
        is_path=True,
        since=2,
    )
    max_tokens: int = option(
        0,
        "Number of tokens to train on, from the beginning of the training text. The"
        " whole training text still decides the vocabulary. 0: all.",
        minimum=0,
        since=2,
    )
    max_vocab_size: int = option(
        0,
        "Size of the vocabulary: <unk> and the most frequent other tokens of the"
        " training text. All other tokens become <unk>. 0: every token; see"
        " --min_count.",
        known_as="vocab_size vocabulary_size",
        minimum=0,
        common=True,
    )
    min_count: int = option(
        0,
        "Tokens that the training text has fewer times than this become <unk>, so that"
        " the model learns it. 1: none. 0: 2 if the valid or test text has a token that"
        " the training text lacks, and neither the text nor --max_vocab_size brings an"
        " <unk>; else 1.",
        known_as="min_freq min_frequency mincount",
        minimum=0,
        common=True,
        since=2,
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
        is_path=True,
    )
    encode_workers: int = option(
        0,
        "Processes that encode a corpus of several files. The result is the same. 0: as"
        " many as there are cores, at most 8.",
        minimum=0,
        maximum=256,
        defines_run=False,
        since=2,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token_type != "byte":
            return
        for name, unread in BYTES_DO_NOT_READ.items():
            value = getattr(self, name)
            if value not in unread:
                raise UserError(
                    f"--{name}={value} has no effect with --token_type=byte, which"
                    f" keeps every byte as it is; set it to {unread[0]}"
                )


@dataclasses.dataclass(frozen=True)
class ModelConfig(Validated):
    """Network and its initial weights."""

    hidden_size: int = option(
        200,
        "Units of each recurrent layer, and width of the embedding.",
        known_as="hidden hidden_dim units num_units rnn_size nhid state_size",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
        shapes_weights=True,
    )
    embedding_size: int = option(
        0,
        "Width of the embedding. 0: hidden_size.",
        known_as="embedding_dim embed_dim embed_size emb_size emsize",
        minimum=0,
        maximum=2**31 - 1,
        since=2,
        shapes_weights=True,
    )
    layer_sizes: str = option(
        "",
        "Units of each layer, as many numbers as --num_layers says, separated by"
        " commas. Empty: hidden_size.",
        parse=parse_sizes,
        since=2,
        shapes_weights=True,
    )
    num_layers: int = option(
        2,
        "Number of stacked recurrent layers.",
        known_as="layers n_layers nlayers depth",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
        shapes_weights=True,
    )
    cell: str = option(
        "lstm",
        "Recurrent cell: {members}.",
        known_as="cell_type rnn_type",
        choices=CELLS,
        common=True,
        since=2,
        shapes_weights=True,
    )
    mogrifier_rounds: int = option(
        5,
        "Rounds in which the input and the state of the mogrifier gate each other,"
        " before every time step. 0: none, as in an LSTM.",
        minimum=0,
        maximum=100,
        since=2,
        shapes_weights=True,
    )
    mogrifier_rank: int = option(
        0,
        "Rank of the matrices of the mogrifier's rounds: each is the product of two of"
        " this width. 0: full.",
        minimum=0,
        maximum=2**31 - 1,
        since=2,
        shapes_weights=True,
    )
    keep_prob: float = option(
        1.0,
        "Probability with which dropout keeps a unit of the embedding and of the output"
        " of every layer. 1: no dropout.",
        known_as="dropout_rate dropout_prob drop_prob",
        above=0.0,
        maximum=1.0,
        common=True,
        may_change=True,
    )
    keep_prob_embedding: float = option(
        1.0,
        "Probability with which dropout keeps a word of the vocabulary, in a window. A"
        " dropped word is zero wherever the window has it (Merity et al. 2017).",
        above=0.0,
        maximum=1.0,
        since=2,
        may_change=True,
    )
    keep_prob_input: float = option(
        0.0,
        "Replaces --keep_prob for units of the embedding. 0: keep_prob.",
        minimum=0.0,
        maximum=1.0,
        since=2,
        may_change=True,
    )
    keep_prob_between: float = option(
        0.0,
        "Replaces --keep_prob for the outputs of all layers but the last. 0:"
        " keep_prob.",
        minimum=0.0,
        maximum=1.0,
        since=2,
        may_change=True,
    )
    keep_prob_output: float = option(
        0.0,
        "Replaces --keep_prob for the output of the last layer. 0: keep_prob.",
        minimum=0.0,
        maximum=1.0,
        since=2,
        may_change=True,
    )
    keep_prob_recurrent: float = option(
        1.0,
        "Probability with which dropout keeps a recurrent weight, one that multiplies a"
        " layer's previous output. One mask serves all time steps of a window (Merity"
        " et al. 2017).",
        above=0.0,
        maximum=1.0,
        since=2,
        may_change=True,
    )
    dropout: str = option(
        "step",
        "Masks of dropout of units: {members}.",
        choices=DROPOUTS,
        since=2,
        may_change=True,
    )
    init_scale: float = option(
        0.1,
        "The initial weights are uniform in [-init_scale, init_scale], unless another"
        " distribution is given. The biases of the recurrent layers start at zero.",
        minimum=0.0,
    )
    embedding_init: str = option(
        "",
        "Distribution of the initial embedding: uniform:SCALE (in [-SCALE, SCALE]) or"
        " normal:SCALE (mean 0, standard deviation SCALE). Empty: uniform:INIT_SCALE.",
        parse=parse_distribution,
        since=2,
    )
    layer_init: str = option(
        "",
        "Distribution of the initial matrices of the recurrent layers, as"
        " --embedding_init.",
        parse=parse_distribution,
        since=2,
    )
    softmax_init: str = option(
        "",
        "Distribution of the softmax's initial matrices, as --embedding_init. With"
        " --tied these are the projection, if there is one, and the rows of an adaptive"
        " softmax's clusters.",
        parse=parse_distribution,
        since=2,
    )
    softmax_bias_init: str = option(
        "uniform",
        "Initial bias of the softmax: uniform (in [-init_scale, init_scale]); zero;"
        " unigram (the log of each token's share of the training text, one added to"
        " every count).",
        choices=("uniform", "zero", "unigram"),
        since=2,
    )
    forget_bias: float = option(
        0.0,
        "Initial bias of the forget gate of lstm and mogrifier (the other cells have"
        " none). With 1, a network remembers from the start (Gers et al. 2000).",
        minimum=0.0,
        since=2,
    )
    tied: bool = option(
        False,
        "Use the embedding as the softmax weights (Press and Wolf 2017). If the last"
        " layer has another width, a trained projection brings it to the embedding's.",
        known_as="tie tie_weights tied_weights",
        common=True,
        shapes_weights=True,
    )
    softmax: str = option(
        "full",
        "Softmax: {members}.",
        choices=SOFTMAXES,
        since=2,
        shapes_weights=True,
    )
    softmax_cutoffs: str = option(
        "2000,20000,200000",
        "Places in the vocabulary, sorted by frequency, where the clusters of an"
        " adaptive softmax begin. Those beyond its end are left out.",
        parse=parse_cutoffs,
        since=2,
        shapes_weights=True,
    )
    softmax_reduction: int = option(
        4,
        "The projection of each cluster of an adaptive softmax has this part of the"
        " width of the one before; that of the first cluster, of the last layer's."
        " With --tied there are no such projections.",
        minimum=1,
        maximum=2**31 - 1,
        since=2,
        shapes_weights=True,
    )
    softmax_samples: int = option(
        8192,
        "How many samples of the vocabulary a training step of a sampled softmax has.",
        minimum=1,
        maximum=2**24,
        since=2,
    )
    rnn_mode: str = option(
        "auto",
        "Implementation of the recurrent layers: fused (this project's kernels); keras"
        " (Keras's own loop, or cuDNN on a GPU); auto (keras on a GPU, else fused).",
        choices=("auto", "fused", "keras"),
        may_change=True,
    )
    dtype: str = option(
        "float32",
        "Type of the matrix products: float32; bfloat16; auto (bfloat16 where this"
        " machine is faster with it, which a new run measures). Everything else is"
        " float32, the loss and its sums included; so are the layers where Keras runs"
        " them (--rnn_mode).",
        choices=("float32", "bfloat16", "auto"),
        may_change=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = parse_sizes(self.layer_sizes)
        if sizes and len(sizes) != self.num_layers:
            raise UserError(
                f"--layer_sizes={self.layer_sizes}: the number of layers is"
                f" {len(sizes)} here and {self.num_layers} in --num_layers"
            )
        has_matrix = not self.tied or self.projects or self.softmax == "adaptive"
        if self.softmax_init and not has_matrix:
            raise UserError(
                f"--softmax_init={self.softmax_init}: with --tied the softmax has no"
                " matrix of its own; use --embedding_init"
            )

    @property
    def embedding_width(self) -> int:
        """Width of the embedding."""
        return self.embedding_size or self.hidden_size

    @property
    def layer_units(self) -> list[int]:
        """Units of each layer."""
        return parse_sizes(self.layer_sizes) or [self.hidden_size] * self.num_layers

    @property
    def last_units(self) -> int:
        """Units of the last layer."""
        sizes = parse_sizes(self.layer_sizes)
        return sizes[-1] if sizes else self.hidden_size

    @property
    def softmax_width(self) -> int:
        """Width of what the softmax reads."""
        return self.embedding_width if self.tied else self.last_units

    @property
    def projects(self) -> bool:
        """Whether a projection brings the last outputs to the softmax's width."""
        return self.softmax_width != self.last_units


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Validated):
    """Batches, loss, optimizer and schedule."""

    batch_size: int = option(
        20,
        "Number of streams: equal pieces of the training text that the network reads in"
        " parallel, one row of the batch for each.",
        known_as="batch bs bsz",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
    )
    num_steps: int = option(
        20,
        "Length of a window in tokens, and so the time steps of truncated"
        " backpropagation through time. A training step reads one window.",
        known_as="bptt seq_len seq_length sequence_length",
        minimum=1,
        maximum=2**31 - 1,
        common=True,
    )
    windows: str = option(
        "sequential",
        "Order of the windows: sequential (the order of the text; each window starts"
        " from the state that the last one ended in); random (a random order from a"
        " random offset, drawn anew for every epoch; each window starts from a zero"
        " state).",
        choices=("sequential", "random"),
        since=2,
    )
    window_lengths: str = option(
        "fixed",
        "Lengths of the windows: fixed (num_steps each); random (drawn for each window,"
        " around num_steps, or for one window in twenty around half of it; the learning"
        " rate of its step is scaled by length / num_steps; Merity et al. 2017).",
        choices=("fixed", "random"),
        since=2,
    )
    shuffle_sentences: bool = option(
        False,
        "Whether every epoch reads the lines of the training text in a new order, drawn"
        " at random: for a corpus whose sentences are independent of each other. The"
        " state is carried on from one to the next all the same.",
        since=2,
    )
    loss_scale: str = option(
        "sum",
        "Loss that training minimizes, in nats: sum (summed over num_steps time"
        " steps and averaged over the batch, as in the tutorial); mean (averaged over"
        " both). A learning rate or a clipping norm suits only one of them.",
        choices=("sum", "mean"),
        since=2,
        may_change=True,
    )
    optimizer: str = option(
        "sgd",
        "Update rule: {members}.",
        known_as="optim opt",
        choices=OPTIMIZERS,
    )
    adam_beta1: float = option(
        0.9,
        "Decay rate of the mean of the gradients in adam and adamw: the share of the"
        " mean that every step keeps.",
        minimum=0.0,
        below=1.0,
        since=2,
    )
    adam_beta2: float = option(
        0.999,
        "Decay rate of the mean of the squared gradients in adam and adamw.",
        minimum=0.0,
        below=1.0,
        since=2,
    )
    adam_epsilon: float = option(
        1e-8,
        "Number that adam and adamw add to the root of the mean square, by which they"
        " divide.",
        above=0.0,
        since=2,
        may_change=True,
    )
    l2: float = option(
        0.0,
        "L2 regularization, with any optimizer: this times the weight is added to the"
        " gradient of every weight, after clipping. 0: none.",
        minimum=0.0,
        since=2,
        may_change=True,
    )
    weight_decay: float = option(
        0.0,
        "Decoupled weight decay in adamw: every step also subtracts this times the"
        " learning rate times the weight from every weight. 0: none.",
        minimum=0.0,
        since=2,
        may_change=True,
    )
    learning_rate: float = option(
        1.0,
        "Initial learning rate; with a warm-up, the rate at its end.",
        known_as="lr",
        above=0.0,
        common=True,
        may_change=True,
    )
    schedule: str = option(
        "tutorial",
        "Schedule of the learning rate: {members}.",
        choices=SCHEDULES,
        since=2,
        may_change=True,
    )
    lr_decay: float = option(
        0.5,
        "Factor on the learning rate for every epoch after those at the initial rate;"
        " with --schedule=plateau, whenever it falls.",
        above=0.0,
        maximum=1.0,
        may_change=True,
    )
    warmup: float = option(
        0.0,
        "Share of all steps, of max_max_epoch epochs, in which linear, cosine and"
        " one_cycle raise the learning rate. 0: no warm-up.",
        minimum=0.0,
        below=1.0,
        since=2,
        may_change=True,
    )
    final_rate: float = option(
        0.0,
        "Learning rate at the end of linear, cosine and one_cycle, as a share of"
        " learning_rate.",
        minimum=0.0,
        maximum=1.0,
        since=2,
        may_change=True,
    )
    patience: int = option(
        1,
        "Number of epochs without a better valid perplexity after which plateau"
        " lowers the learning rate.",
        minimum=1,
        since=2,
        may_change=True,
    )
    max_epoch: int = option(
        4,
        "Number of epochs at the initial learning rate in the schedule tutorial;"
        " zaremba has one more.",
        minimum=0,
        may_change=True,
    )
    max_max_epoch: int = option(
        13,
        "Number of epochs in all.",
        known_as="epochs max_epochs num_epochs n_epochs",
        minimum=1,
        common=True,
        may_change=True,
    )
    ar: float = option(
        0.0,
        "Activation regularization: adds this times the mean square of the last layer's"
        " outputs, after dropout, to the mean loss per token (Merity et al. 2017). 0:"
        " none.",
        minimum=0.0,
        since=2,
        may_change=True,
    )
    tar: float = option(
        0.0,
        "Temporal activation regularization: adds this times the mean square of the"
        " change of the last layer's outputs, before dropout, from one time step to the"
        " next, to the mean loss per token (Merity et al. 2017). 0: none.",
        minimum=0.0,
        since=2,
        may_change=True,
    )
    average: str = option(
        "none",
        "Weights to score, sample and export; training always continues from those of"
        " the last step: {members}.",
        choices=AVERAGES,
        since=2,
    )
    average_decay: float = option(
        0.999,
        "Decay rate of ema: the share of the average that every step keeps.",
        above=0.0,
        below=1.0,
        since=2,
    )
    nonmonotone: int = option(
        5,
        "nt_asgd starts after an epoch whose valid perplexity is worse than the"
        " best of the epochs more than this many before it.",
        minimum=0,
        since=2,
        may_change=True,
    )
    max_grad_norm: float = option(
        5.0,
        "Clipping norm: if the global norm of the gradients is larger, they are scaled"
        " down to it.",
        known_as="clip grad_clip clip_norm clipnorm max_norm",
        above=0.0,
        may_change=True,
    )
    early_stopping: int = option(
        0,
        "Stop after this many epochs without a better valid perplexity. 0: never.",
        known_as="early_stop",
        minimum=0,
        common=True,
        may_change=True,
    )
    init_from: str = option(
        "",
        "Folder of a run whose best weights are the initial weights. Empty: random"
        " initial weights.",
        is_path=True,
    )
    seed: int = option(
        1,
        "Seed of the initial weights, the dropout masks, the random windows, the"
        " generated text and the built-in pairs.",
        known_as="random_seed",
        minimum=0,
        maximum=2**31 - 1,
        common=True,
    )


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Validated):
    """Evaluation and export of a trained run."""

    split: str = option(
        "test",
        "Split of the corpus that evaluate scores: train, valid or test.",
        choices=("train", "valid", "test"),
        defines_run=False,
        common=True,
    )
    text_file: str = option(
        "",
        "Text file that evaluate scores instead of a split, or that score and features"
        " read if --text is not set; or the list of rescore or pairs. One sentence per"
        " line. -: standard input.",
        defines_run=False,
        common=True,
        is_path=True,
    )
    weights: str = option(
        "best",
        "Weights that all modes but train and report read: best (of the lowest valid"
        " perplexity); last (of the newest checkpoint).",
        known_as="checkpoint ckpt",
        choices=("best", "last"),
        defines_run=False,
    )
    counting: str = option(
        "exact",
        "Which tokens evaluate counts: exact (every token except the first, in one"
        " stream); tutorial (batch_size streams, without the tokens at the end that"
        " fill no window).",
        choices=("exact", "tutorial"),
        defines_run=False,
    )
    method: str = option(
        "plain",
        "How evaluate, score, rescore and pairs find the probability of a token:"
        " {members}.",
        choices=METHODS,
        defines_run=False,
        since=2,
    )
    dynamic: str = option(
        "none",
        "Dynamic evaluation in evaluate and score: none; sgd or rms (the weights go on"
        " learning from each segment of the text, once it is scored; rms divides by the"
        " size of the training text's gradients; Krause et al. 2017).",
        choices=("none", "sgd", "rms"),
        defines_run=False,
        since=2,
    )
    dynamic_rate: float = option(
        -1.0,
        "Learning rate of dynamic evaluation. 0: plain evaluation. Negative: the run's"
        " tuned value, see --tune, else 0.1 for sgd and 5e-5 for rms.",
        minimum=-1.0,
        defines_run=False,
        since=2,
    )
    dynamic_decay: float = option(
        -1.0,
        "Share of the way back to the trained weights that dynamic evaluation goes with"
        " each segment. Negative: the run's tuned value, else 0 for sgd and 0.002 for"
        " rms.",
        minimum=-1.0,
        maximum=1.0,
        defines_run=False,
        since=2,
    )
    dynamic_epsilon: float = option(
        2e-5,
        "Number that --dynamic=rms adds to the size of the gradients, by which it"
        " divides.",
        above=0.0,
        defines_run=False,
        since=2,
    )
    dynamic_steps: int = option(
        5,
        "Length of a segment of dynamic evaluation, in tokens.",
        minimum=1,
        defines_run=False,
        since=2,
    )
    cache_size: int = option(
        0,
        "Tokens in the neural cache of evaluate and score, which makes recent words"
        " likelier (Grave et al. 2016). 0: no cache.",
        minimum=0,
        maximum=1_000_000,
        defines_run=False,
        since=2,
    )
    cache_weight: float = option(
        -1.0,
        "Weight of the cache's probabilities beside the model's. Negative: the run's"
        " tuned value, else 0.1.",
        minimum=-1.0,
        below=1.0,
        defines_run=False,
        since=2,
    )
    cache_flatness: float = option(
        -1.0,
        "Factor of the similarity of two positions in the cache. 0: all positions count"
        " alike. Negative: the run's tuned value, else 0.3.",
        minimum=-1.0,
        defines_run=False,
        since=2,
    )
    runs: str = option(
        "",
        "Run folders, separated by commas, that evaluate mixes; they need the same"
        " vocabulary. The first decides the batches of --counting=tutorial. Empty: the"
        " run of --save_path alone.",
        defines_run=False,
        since=2,
    )
    ngram_order: int = option(
        0,
        "Length of the n-grams that evaluate mixes with the runs, estimated on the"
        " training text (interpolated modified Kneser-Ney; Chen and Goodman 1999), and"
        " that --export_format=arpa writes. 0: none; for arpa, 5.",
        minimum=0,
        maximum=20,
        defines_run=False,
        since=2,
    )
    ngram_file: str = option(
        "",
        "ARPA file of the n-grams that evaluate mixes with the runs, instead of"
        " --ngram_order.",
        defines_run=False,
        since=2,
    )
    mixture: str = option(
        "linear",
        "How evaluate mixes: linear (mean of the probabilities); log (geometric mean of"
        " the distributions of plain runs).",
        choices=("linear", "log"),
        defines_run=False,
        since=2,
    )
    mixture_weights: str = option(
        "",
        "Weights of the mixture: numbers separated by commas, one for each run, then"
        " one for the n-grams; they are scaled to sum to 1. Empty: the tuned ones, see"
        " --tune, else equal ones.",
        parse=parse_weights,
        defines_run=False,
        since=2,
    )
    compare: str = option(
        "",
        "Run folder that evaluate compares with, on the same text.",
        defines_run=False,
        since=2,
    )
    confidence: float = option(
        0.0,
        "Confidence of the interval that evaluate prints for the perplexity, and for"
        " its ratio to that of --compare: 0.95, say. From 2,000 bootstrap samples of"
        " the sentences. 0: none.",
        minimum=0.0,
        below=1.0,
        defines_run=False,
        since=2,
    )
    tune: bool = option(
        False,
        "Whether evaluate first finds the constants of --dynamic and --cache_size and"
        " the weights of a linear mixture on the valid text, and keeps them in the"
        " run's folder.",
        defines_run=False,
        since=2,
    )
    export_format: str = option(
        "",
        "Format that export writes: {members}. Empty: saved_model and"
        " keras, as at the end of training.",
        choices=EXPORT_FORMATS,
        defines_run=False,
        since=2,
    )
    export_dtype: str = option(
        "float32",
        "Type of the weights in an export for onnx or litert. int8: a quarter of the"
        " size, and faster; perplexity rises by less than 1 %.",
        choices=("float32", "int8"),
        defines_run=False,
        since=2,
    )
    evaluate_on_interrupt: bool = option(
        False,
        "Whether a training that Ctrl-C stops also scores the valid and test texts"
        " with the present weights, once it has written its checkpoint. A second"
        " Ctrl-C stops at once.",
        defines_run=False,
        since=2,
    )


@dataclasses.dataclass(frozen=True)
class GenerationConfig(Validated):
    """Generated and scored texts, and their output."""

    prompt: str = option(
        "-",
        "Text that sample continues. Empty: the start of a sentence. -: ask for prompts"
        " on a terminal, else read one prompt per line from standard input.",
        known_as="prime prime_text start start_string",
        defines_run=False,
        common=True,
    )
    num_tokens: int = option(
        100,
        "Number of tokens to draw for each text.",
        known_as="length num_words max_new_tokens",
        minimum=1,
        maximum=2**31 - 1,
        defines_run=False,
        common=True,
    )
    num_samples: int = option(
        1,
        "Number of texts to generate for each prompt. The command draws text i, counted"
        " from 0 over all prompts, with seed + i.",
        known_as="samples n_samples",
        minimum=1,
        defines_run=False,
        common=True,
    )
    temperature: float = option(
        0.8,
        "Divisor of the logits. Below 1, likely tokens become likelier. 1: draw by the"
        " probabilities of the model. 0: always take the likeliest token.",
        known_as="temp",
        minimum=0.0,
        defines_run=False,
        common=True,
    )
    top_k: int = option(
        -1,
        "Draw only from this many of the likeliest tokens. 0: from all. -1: from 40 if"
        " the temperature is below 1, else from all.",
        minimum=-1,
        maximum=2**31 - 1,
        defines_run=False,
    )
    top_p: float = option(
        1.0,
        "Draw only from the fewest likeliest tokens whose probabilities add up to this."
        " 1: from all.",
        above=0.0,
        maximum=1.0,
        defines_run=False,
    )
    unknown: str = option(
        "unk",
        "What the modes that read texts do about tokens that the vocabulary lacks: unk"
        " (read them as <unk>; if the vocabulary has none, leave them out, with a"
        " warning, and in evaluate stop); draw (likewise, and sample may draw <unk>,"
        " which it never does otherwise); skip (leave them out); error (stop).",
        known_as="allow_unknown unk oov",
        choices=("unk", "draw", "skip", "error"),
        defines_run=False,
        since=2,
    )
    text: str = option(
        "-",
        "Text that score or features reads. -: --text_file, else standard input.",
        defines_run=False,
        common=True,
    )
    each_line: bool = option(
        False,
        "Whether score scores each line as a sentence of its own that follows a line"
        " end, and counts all its tokens. If not, the lines are one text, and its first"
        " token does not count, because nothing precedes it, as in evaluate.",
        defines_run=False,
    )
    by_word: bool = option(
        False,
        "Whether score adds up the characters of a character model to words. A word"
        " counts with the white space after it.",
        defines_run=False,
        since=2,
    )
    log_base: str = option(
        "e",
        "Base of the logarithms that score, rescore and pairs show: e (nats); 2 (bits);"
        " 10 (hartleys).",
        choices=("e", "2", "10"),
        defines_run=False,
        since=2,
    )
    count_unknown: bool = option(
        True,
        "Whether the sums of score, rescore and pairs count tokens that are read as"
        " <unk>. If not, these are read and shown all the same.",
        defines_run=False,
        since=2,
    )
    format: str = option(
        "text",
        "Output: text; json (one object per line); of score, rescore and pairs also tsv"
        " (columns with tabs between them, after a line with their names).",
        choices=("text", "json", "tsv"),
        defines_run=False,
    )

    @property
    def num_likeliest(self) -> int:
        """Number of the likeliest tokens to draw from; 0: all."""
        if self.top_k < 0:
            return 40 if self.temperature < 1.0 else 0
        return self.top_k


@dataclasses.dataclass(frozen=True)
class ProbeConfig(Validated):
    """Rescored lists, minimal pairs and features."""

    score_weight: float = option(
        1.0,
        "Factor of the score that a hypothesis has in the list, in rescore.",
        minimum=-1e9,
        maximum=1e9,
        defines_run=False,
        since=2,
    )
    lm_weight: float = option(
        1.0,
        "Factor of the log-probability that the network gives a hypothesis, in rescore."
        " --log_base has the base of the logarithm.",
        known_as="lm_scale",
        minimum=-1e9,
        maximum=1e9,
        defines_run=False,
        since=2,
    )
    word_weight: float = option(
        0.0,
        "What rescore adds for every word of a hypothesis.",
        known_as="word_insertion_penalty wip",
        minimum=-1e9,
        maximum=1e9,
        defines_run=False,
        since=2,
    )
    num_pairs: int = option(
        1000,
        "Number of built-in pairs for each number of attractors.",
        minimum=1,
        maximum=1_000_000,
        defines_run=False,
        since=2,
    )
    pooling: str = option(
        "none",
        "Rows of features: none (one for each token); mean (one for each line, the mean"
        " over its tokens).",
        choices=("none", "mean"),
        defines_run=False,
        since=2,
    )
    features_path: str = option(
        "",
        "File for the features, which ends in .npy. A table beside it, .tsv, says what"
        " the rows are. Empty: features.npy.",
        defines_run=False,
        since=2,
        is_path=True,
    )


@dataclasses.dataclass(frozen=True)
class TensorBoardConfig(Validated):
    """TensorBoard, besides the curves."""

    sample_tokens: int = option(
        30,
        "Number of tokens with which the model continues each prompt of"
        " --sample_prompts after every epoch, for TensorBoard's Text page. 0: no text.",
        minimum=0,
        maximum=2**31 - 1,
        defines_run=False,
        since=2,
    )
    sample_prompts: str = option(
        "",
        "Prompts for TensorBoard's Text page, separated by |. Empty: the beginnings of"
        " three sentences of the valid text.",
        defines_run=False,
        since=2,
    )
    histograms_every_steps: int = option(
        0,
        "Training steps from one histogram of the weights and gradients to the next. 0:"
        " no histograms.",
        minimum=0,
        defines_run=False,
        since=2,
    )
    profile_steps: str = option(
        "",
        "Training steps to profile for TensorBoard's Profile page: FIRST,LAST, counted"
        " from 1. Empty: none.",
        defines_run=False,
        since=2,
    )


@dataclasses.dataclass(frozen=True)
class LookConfig(Validated):
    """Neighbours and report."""

    words: str = option(
        "",
        "Words whose neighbours to list, separated by spaces. Empty: the ten most"
        " frequent words.",
        defines_run=False,
        common=True,
        since=2,
    )
    num_neighbours: int = option(
        6,
        "Number of neighbours to list for each word.",
        minimum=1,
        defines_run=False,
        since=2,
    )
    figures_path: str = option(
        "",
        "Folder for the figures of report. Empty: the folder figures in --save_path.",
        defines_run=False,
        since=2,
        is_path=True,
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
    probe: ProbeConfig = dataclasses.field(default_factory=ProbeConfig)
    look: LookConfig = dataclasses.field(default_factory=LookConfig)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "Config":
        """Builds a configuration from a flat mapping of option names to values.

        Args:
          values: any of the options; the others keep their defaults.

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
            if name in RETIRED:
                continue
            if name not in defaults:
                raise UserError(f"{source}: {line!r} is not an option of this version")
            parse = (
                parse_bool if isinstance(defaults[name], bool) else type(defaults[name])
            )
            try:
                values[name] = parse(value)
            except ValueError as error:
                raise UserError(f"{source}: {line!r} is not a value: {error}") from None
        try:
            return cls.from_values(values)
        except UserError as error:
            raise UserError(f"{source}: {error}{_plugin_needed(values)}") from error

    def to_text(self) -> str:
        """The configuration as lines ``--name=value``, an absl flagfile.

        It leaves out the options of a single command, `NOT_RECORDED`.
        """
        return "".join(
            f"--{name}={format_value(value)}\n"
            for name, value in self.values().items()
            if name not in NOT_RECORDED
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


def _plugin_needed(values: dict[str, Any]) -> str:
    """What to say of a value that may be a member of a plugin that was not typed."""
    plugin = values.get("plugin")
    if not plugin or plugin in LOADED_PLUGINS:
        return ""
    return f"; the run was started with --plugin={plugin}: type that option too"


def _walk(config: Config) -> Iterator[tuple[Any, dataclasses.Field]]:
    for group in dataclasses.fields(config):
        group_value = getattr(config, group.name)
        for field in dataclasses.fields(group_value):
            yield group_value, field


def fields_by_name() -> dict[str, dataclasses.Field]:
    """Every option by name."""
    return {field.name: field for _, fields in option_groups() for field in fields}


def option_groups() -> list[tuple[str, list[dataclasses.Field]]]:
    """The options by group, in the order of ``--helpfull``: (heading, fields)."""
    groups = get_type_hints(Config).values()
    return [(group.__doc__, list(dataclasses.fields(group))) for group in groups]
