"""``--mode=evaluate``: the perplexity of a split or a text file under a trained model.

It imports TensorFlow after it has read the text.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ptb_lm.commands.corpora import text_warnings
from ptb_lm.commands.downloads import download_shown
from ptb_lm.commands.mode import ADAPTATION, TRAINED_RUN, Mode
from ptb_lm.commands.texts import STANDARD_INPUT, RawText
from ptb_lm.config import Config, DataConfig
from ptb_lm.data.corpus import corpus_name, digest_of, encode_split
from ptb_lm.data.encoding import EncodedText, encode_text
from ptb_lm.data.sources import absolute_data_path
from ptb_lm.data.text_source import FileText, GivenText, TextSource
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.windows import fills_window
from ptb_lm.errors import UserError
from ptb_lm.options import parse_weights
from ptb_lm.runs.resuming import check_recorded_corpus, run_path
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files, program
from ptb_lm.system.progress import Progress
from ptb_lm.system.quiet_start import start_tensorflow

if TYPE_CHECKING:
    from ptb_lm.evaluation.confidence import Sentences
    from ptb_lm.evaluation.metrics import Score


def run(config: Config) -> int:
    """Prints the perplexity, and returns the exit status.

    Raises:
      UserError: there is no run, or the text cannot be read or is too short.
    """
    choice = config.evaluation
    if choice.confidence and choice.counting != "exact":
        raise UserError("--confidence: it needs --counting=exact")
    runs, other = _runs(config)
    source, progress = _source(config, runs[0]), Progress(sys.stderr)
    with progress.phase("Reading the text"):
        name, text = _read_text(config, runs[0], source)
    with progress.phase("Starting TensorFlow"):
        start_tensorflow()
    from ptb_lm.evaluation.comparison import Evaluated
    from ptb_lm.evaluation.confidence import perplexity_interval, ratio_interval

    confidence = choice.confidence
    weights = parse_weights(choice.mixture_weights)
    score, sentences, settings = _scored(
        config, runs, text.ids, name, progress, weights
    )
    evaluated = Evaluated(
        name,
        ",".join(str(run.path) for run in runs),
        choice.weights,
        _counting(config, runs[0], text),
        score,
        text.unknown(runs[0].vocabulary),
        settings,
        confidence,
        perplexity_interval(sentences, confidence) if sentences else None,
        are_bytes=TokenRules.of(runs[0].config.data).are_bytes,
    )
    if other:
        other_score, of_other, _ = _scored(config, [other], text.ids, name, progress)
        evaluated = dataclasses.replace(
            evaluated, other_run=str(other.path), other_score=other_score
        )
        if sentences and of_other:
            ratio = ratio_interval(sentences, of_other, confidence)
            evaluated = dataclasses.replace(evaluated, ratio_interval=ratio)
    is_json = config.generation.format == "json"
    print(evaluated.to_json() if is_json else evaluated.to_text())
    changes = [] if source else _changes(config, runs[0], text, name)
    for warning in (*changes, *text_warnings(text, name)):
        program.say(warning)
    return 0


def _runs(config: Config) -> tuple[list[TrainedRun], TrainedRun | None]:
    """The runs that are evaluated, at least one; and the one to compare with.

    Raises:
      UserError: there is no such run, or two have different vocabularies.
    """
    choice = config.evaluation
    paths = [files.expand_home(path) for path in choice.runs.split(",") if path]
    runs = [TrainedRun(path, choice.weights) for path in paths or [run_path(config)]]
    if not choice.compare:
        return runs, None
    other = TrainedRun(files.expand_home(choice.compare), choice.weights)
    if other.vocabulary != runs[0].vocabulary:
        raise UserError(
            f"--compare: {other.path} has another vocabulary than {runs[0].path}"
        )
    return runs, other


def _scored(
    config: Config,
    runs: list[TrainedRun],
    ids: np.ndarray,
    name: str,
    progress: Progress,
    weights: Sequence[float] = (),
) -> tuple["Score", "Sentences | None", dict[str, Any]]:
    """Scores a text by the method that the options name, tuned first if asked for.

    Returns:
      The score; its sentences, where an interval is asked for; and what the method is
      made of.
    """
    from ptb_lm.evaluation.confidence import Sentences
    from ptb_lm.evaluation.evaluator import Evaluator, score_run
    from ptb_lm.evaluation.members import Members
    from ptb_lm.evaluation.metrics import Score

    members = Members(
        config,
        runs,
        lambda split: _read_split(config, runs[0], split).ids,
        lambda what, done, total: progress.update(what, done, total, ""),
        weights,
        progress.line,
    )
    for what, tuned in members.tune() if config.evaluation.tune else []:
        constants = ", ".join(f"{n} {v:.4g}" for n, v in tuned.constants.items())
        progress.line(
            f"tuned {what}: {constants}; valid perplexity"
            f" {tuned.score.perplexity:.3f} of {tuned.score.tokens:,} tokens"
        )
    with progress.phase("Building the model"):
        method = members.method()
    with progress.phase(f"Evaluating {name}") as update:
        if not config.evaluation.confidence:
            score = score_run(runs[0], ids, config, name, method, update)
            return score, None, members.settings()
        nats = Evaluator(method).token_nats(ids, update)
    score = Score(float(nats.sum(dtype=np.float64)), len(nats))
    score.check_finite()
    sentences = Sentences.of(nats, ids, runs[0].line_end_id)
    return score, sentences, members.settings()


def _counting(config: Config, trained: TrainedRun, text: EncodedText) -> str:
    """How the tokens of a text are counted; the tutorial's way needs a window."""
    training = trained.config.training
    if fills_window(len(text.ids), training.batch_size, training.num_steps):
        return config.evaluation.counting
    return "exact"


def _source(config: Config, trained: TrainedRun) -> TextSource | None:
    """The text that --text_file names; None: a split is evaluated."""
    rules = TokenRules.of(trained.config.data)
    name = config.evaluation.text_file
    if not name:
        return None
    if name == STANDARD_INPUT:
        given = RawText.of_stdin()
        return GivenText(name=given.name, text=given.text(rules))
    path = files.expand_home(name)
    if files.is_stream(path):
        return GivenText(name=name, text=RawText.of_file(name).text(rules))
    return FileText(name=name, path=path)


def _read_text(
    config: Config, trained: TrainedRun, source: TextSource | None
) -> tuple[str, EncodedText]:
    """The text to evaluate: its name, and its ids under the run's vocabulary."""
    if source:
        data, unknown = trained.config.data, config.generation.unknown
        return source.name, encode_text(source, trained.vocabulary, data, unknown)
    split = config.evaluation.split
    name = f"{corpus_name(_data(config, trained).data_path)} {split}"
    return name, _read_split(config, trained, split)


def _read_split(config: Config, trained: TrainedRun, split: str) -> EncodedText:
    """A split of the corpus by the run's vocabulary."""
    data, unknown = _data(config, trained), config.generation.unknown
    with download_shown(Progress(sys.stderr)) as show:
        return encode_split(data, split, trained.vocabulary, unknown, show)


def _changes(
    config: Config, trained: TrainedRun, text: EncodedText, name: str
) -> Iterator[str]:
    """What to warn of where a split of the run's corpus is not what it was."""
    typed, own = config.data.data_path, trained.config.data.data_path
    is_own = not typed or absolute_data_path(typed) == absolute_data_path(own)
    texts = trained.results.texts if trained.results else {}
    recorded = texts.get(config.evaluation.split)
    if not is_own or not recorded or text.left_out:
        return
    if recorded.digest != digest_of(text.ids):
        yield (
            f"{name} has changed since the training ({recorded.tokens:,} tokens then,"
            f" {len(text.ids):,} now)"
        )


def _data(config: Config, trained: TrainedRun) -> DataConfig:
    """How the run reads text, and where the command says that it is."""
    data = trained.config.data
    if not config.data.data_path:
        check_recorded_corpus(trained.folder, trained.config)
    return dataclasses.replace(
        data,
        data_path=config.data.data_path or data.data_path,
        cache_dir=config.data.cache_dir,
        ptb_url=config.data.ptb_url,
    )


MODE = Mode(
    run,
    reads=(
        *TRAINED_RUN,
        "split",
        "text_file",
        "unknown",
        "cache_dir",
        "ptb_url",
        "counting",
        "method",
        *ADAPTATION,
        "runs",
        "ngram_order",
        "ngram_file",
        "mixture",
        "mixture_weights",
        "tune",
        "compare",
        "confidence",
        "format",
    ),
    replaces={
        "save_path": ("model",),
        "runs": ("save_path", "model"),
        "text_file": ("split",),
        "ngram_file": ("ngram_order",),
    },
)
