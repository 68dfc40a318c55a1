"""The runs and n-grams of an evaluation, and the one method that they make together."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.evaluation.adaptation import (
    MIXTURE_WEIGHT,
    TUNED,
    Adaptation,
    keep_constants,
    tuned_constants,
)
from ptb_lm.evaluation.arpa import read_arpa
from ptb_lm.evaluation.method import DistributionMethod, Method
from ptb_lm.evaluation.mixture import (
    LinearMixture,
    LogMixture,
    NGramMethod,
    tune_weights,
)
from ptb_lm.evaluation.ngrams import NGrams, estimate
from ptb_lm.evaluation.tuning import Say, Tuned
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files

Progress = Callable[[str, int, int], None]


class Members:
    """Makes the method of one run, or of several runs and n-grams mixed."""

    def __init__(
        self,
        config: Config,
        runs: Sequence[TrainedRun],
        read: Callable[[str], np.ndarray],
        progress: Progress = lambda what, done, total: None,
        weights: Sequence[float] = (),
        say: Say = lambda line: None,
    ):
        """Checks that the members go together.

        Args:
          config: of the command.
          runs: at least one.
          read: gives the ids of a split, int32 [tokens]: "train", or "valid".
          progress: called with what is done, how many steps of it, and of how many.
          weights: of the mixture, for each run, then for the n-grams; none: the tuned
            ones, else equal ones.
          say: called with a line on each trial of a tuning.

        Raises:
          UserError: two runs have different vocabularies, or the options contradict
            each other.
        """
        self._config, self._runs = config, list(runs)
        self._read, self._progress, self._say = read, progress, say
        self._vocabulary: Vocabulary = runs[0].vocabulary
        for run in runs[1:]:
            if run.vocabulary != self._vocabulary:
                raise UserError(
                    f"--runs: {run.path} has another vocabulary than {runs[0].path}"
                )
        choice = config.evaluation
        self._has_ngrams = bool(choice.ngram_order or choice.ngram_file)
        self._weights = list(weights)
        count = len(runs) + self._has_ngrams
        if self._weights and len(self._weights) != count:
            raise UserError(
                f"--mixture_weights: {len(weights)} weights for {count} members"
            )
        is_plain = choice.method == "plain" and choice.dynamic == "none"
        if choice.mixture == "log" and (
            self._has_ngrams or choice.cache_size or not is_plain
        ):
            raise UserError("--mixture=log: it mixes plain runs only")
        self._adaptations = [
            Adaptation(
                config,
                run,
                lambda: self._read("train"),
                lambda *place: progress("measuring gradients", *place),
            )
            for run in runs
        ]
        self._models: dict[int, LanguageModel] = {}
        self._ngrams: NGrams | None = None

    def method(self) -> Method:
        """The method that the options name, with the constants that are known."""
        members = self._methods()
        if len(members) == 1:
            return members[0]
        weights = self._mixture_weights(len(members))
        used = [m for m, w in zip(members, weights, strict=True) if w > 0]
        if len(used) == 1:
            return used[0]
        if self._config.evaluation.mixture == "log":
            return LogMixture(cast(list[DistributionMethod], members), weights)
        return LinearMixture(members, weights)

    def settings(self) -> dict[str, Any]:
        """What the method is made of, for a record: options and constants by name.

        Constants of dynamic evaluation and of the cache are there for each run, and
        weights for each member of a mixture.
        """
        choice = self._config.evaluation
        found: dict[str, Any] = {"method": choice.method}
        for name in ("dynamic", "cache_size", "ngram_order", "ngram_file"):
            if getattr(choice, name) not in ("none", 0, ""):
                found[name] = getattr(choice, name)
        constants = [
            {n: v for n, v in dataclasses.asdict(each.constants).items() if v}
            for each in self._adaptations
        ]
        if any(constants):
            found["constants"] = constants
        count = len(self._runs) + self._has_ngrams
        if count > 1:
            found["mixture"] = choice.mixture
            found["mixture_weights"] = self._mixture_weights(count)
        return found

    def _mixture_weights(self, count: int) -> list[float]:
        """Weights of so many members: those given, those tuned, or equal ones."""
        return self._weights or self._tuned_weights() or [1 / count] * count

    def tune(self) -> list[tuple[str, Tuned]]:
        """Finds constants on the validation text, and keeps them with the runs.

        Those of a mixture are kept with the first run.

        Returns:
          The name of what was tuned, a run or the mixture, and what was found.
        """
        ids, found = self._read("valid"), []
        for number, adaptation in enumerate(self._adaptations):
            name = self._runs[number].path.name
            model = self._model(number)
            for tuned in adaptation.tune(model, ids, self._progress, self._say):
                found.append((name, tuned))
        is_linear = self._config.evaluation.mixture == "linear"
        members = self._methods() if is_linear and not self._weights else []
        if len(members) > 1:
            self._weights, score = tune_weights(members, ids)
            constants = {
                f"{MIXTURE_WEIGHT}{n}": w for n, w in enumerate(self._weights, 1)
            }
            keep_constants(self._runs[0], self._key(), constants)
            found.append(("mixture", Tuned(constants, score)))
        return found

    def _methods(self) -> list[Method]:
        """The method of each member."""
        found: list[Method] = [
            adaptation.method(self._model(number))
            for number, adaptation in enumerate(self._adaptations)
        ]
        if self._has_ngrams:
            self._ngrams = self._ngrams or self._make_ngrams()
            found.append(NGramMethod(self._ngrams))
        return found

    def _model(self, number: int) -> LanguageModel:
        """The model of a run, made once."""
        if number not in self._models:
            self._models[number] = self._runs[number].model()
        return self._models[number]

    def _make_ngrams(self) -> NGrams:
        """Reads or estimates the n-grams."""
        choice, vocabulary = self._config.evaluation, self._vocabulary
        if choice.ngram_file:
            return read_arpa(files.expand_home(choice.ngram_file), vocabulary)
        return estimate(
            self._read("train"),
            choice.ngram_order,
            len(vocabulary),
            self._runs[0].line_end_id,
        )

    def _tuned_weights(self) -> list[float]:
        """The mixture's tuned weights; none where it was not tuned."""
        run, count = self._runs[0], len(self._runs) + self._has_ngrams
        weights = list(tuned_constants(run).get(self._key(), {}).values())
        if weights and (len(weights) != count or not math.isclose(sum(weights), 1)):
            raise UserError(
                f"{run.path / TUNED}: damaged: no weights of {count} members;"
                " remove it and tune again"
            )
        return weights

    def _key(self) -> str:
        """Name of a mixture in the file of tuned constants."""
        choice = self._config.evaluation
        content = hashlib.sha256()
        for run in self._runs:
            content.update(run.weights_digest.encode())
        settings = choice.dynamic, choice.cache_size, choice.ngram_order
        return f"mixture {content.hexdigest()[:16]} {settings} {choice.ngram_file}"
