"""n-grams of a run's training text, as an ARPA file for other programs."""

import dataclasses
import pathlib

from ptb_lm.config import Config
from ptb_lm.data.corpus import encode_split
from ptb_lm.evaluation.arpa import write_arpa
from ptb_lm.evaluation.ngrams import estimate
from ptb_lm.export.export_format import ExportFormat
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.resuming import check_recorded_corpus
from ptb_lm.runs.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True)
class Arpa(ExportFormat):
    """The n-grams that ``--ngram_order`` mixes with the run, over its vocabulary.

    Attributes:
      order: length of the longest n-grams.
    """

    order: int = 5

    place = "ngrams.arpa"
    reader = "KenLM and SRILM"
    options = ("ngram_order",)

    def with_options(self, config: Config) -> "Arpa":
        """The format with the order of ``--ngram_order``, if that is set."""
        return Arpa(config.evaluation.ngram_order or self.order)

    def write(self, run: TrainedRun, model: LanguageModel, path: pathlib.Path) -> None:
        """Estimates the n-grams and writes the file, see `ExportFormat.write`."""
        check_recorded_corpus(run.folder, run.config)
        train = encode_split(run.config.data, "train", run.vocabulary, "unk")
        ngrams = estimate(train.ids, self.order, len(run.vocabulary), run.line_end_id)
        write_arpa(ngrams, run.vocabulary, path)

    def content(self, run: TrainedRun) -> str:
        """What is in it."""
        return f"{self.order}-grams of the training text"

    def hint(self, path: pathlib.Path) -> str:
        """Code that reads it."""
        return f"kenlm.Model({str(path)!r})"


FORMAT = Arpa()
