"""The recorded runs of a folder, and which of them are comparable."""

import dataclasses
import pathlib
from typing import Any

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.presets import Published, preset_config, presets, published
from ptb_lm.runs.results import Results

UNITS = {"word": "words", "char": "characters", "byte": "bytes"}
PTB = ("ptb", "word", 10_000)  # Mikolov's words


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """What a run folder says of a run that has measured an epoch.

    Attributes:
      path: the folder.
      results: of results.json.
      config: of flags.txt.
    """

    path: pathlib.Path
    results: Results
    config: Config

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.resolve().name

    @property
    def corpus(self) -> tuple[str, str, int]:
        """Name, type of token and size of the vocabulary.

        Perplexities may be compared where all three are the same.
        """
        results = self.results
        return results.corpus, self.config.data.token_type, results.vocabulary_size

    def same_but_seed(self) -> tuple[Any, ...]:
        """What runs of one configuration have in common, whatever their seed."""
        options = self.config.run_values()
        del options["seed"]
        return self.corpus, *options.items()

    def published(self) -> Published | None:
        """What was published for its preset, where this is the preset's network."""
        name = self.config.run.model
        if self.corpus != PTB or name not in presets():
            return None
        asked, ours = preset_config(name).model, self.config.model
        same = dataclasses.replace(ours, rnn_mode=asked.rnn_mode, dtype=asked.dtype)
        return published(name) if same == asked else None


def corpus_title(corpus: tuple[str, str, int]) -> str:
    """A corpus as a heading names it."""
    name, token_type, size = corpus
    return f"{name}, vocabulary of {size:,} {UNITS[token_type]}"


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The runs in a folder.

    Attributes:
      runs: those that have measured an epoch, by name.
      without_epoch: the names of the others.
    """

    runs: list[RecordedRun]
    without_epoch: list[str]


def read_runs(folder: pathlib.Path) -> Recorded:
    """Reads a run folder, or the run folders in a folder.

    Raises:
      UserError: no run there has measured an epoch, or one cannot be read.
    """
    runs, without_epoch = [], []
    for path in _run_folders(folder):
        results = _results(path)
        if results is None or not results.epochs:
            without_epoch.append(path.resolve().name)
        else:
            runs.append(RecordedRun(path, results, RunFolder(path).config()))
    if not runs:
        raise UserError(
            f"--save_path={folder}: no recorded run there (none has ended an epoch)"
        )
    return Recorded(runs, without_epoch)


def by_corpus(
    runs: list[RecordedRun],
) -> dict[tuple[str, str, int], list[RecordedRun]]:
    """Runs by corpus, the Penn Treebank's first and the others by name."""
    corpora = sorted(
        {run.corpus for run in runs},
        key=lambda each: (each != PTB, each[0] != PTB[0], each),
    )
    return {each: [run for run in runs if run.corpus == each] for each in corpora}


def _run_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders that hold a run: that folder, and those in it."""
    files = [
        path
        for name in ("flags.txt", "results.json")
        for path in (*folder.glob(name), *folder.glob(f"*/{name}"))
    ]
    return sorted({path.parent for path in files})


def _results(path: pathlib.Path) -> Results | None:
    """The results of a run; None where none are written yet."""
    if not (path / "results.json").exists():
        return None
    return RunFolder(path).read_results()
