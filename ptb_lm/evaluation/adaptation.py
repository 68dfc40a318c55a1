"""Which method an evaluation uses, with which constants, and where these are kept.

`--method` names a method of the registry; `--dynamic` and `--cache_size` build on the
plain one. Constants that are not typed are those that `tuning` found on the validation
text, where it has been asked to; else defaults.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ptb_lm.config import Config, EvaluationConfig
from ptb_lm.errors import UserError
from ptb_lm.evaluation.dynamic import Dynamic
from ptb_lm.evaluation.gradient_statistics import gradient_rms
from ptb_lm.evaluation.learning import DynamicConstants
from ptb_lm.evaluation.method import FeatureMethod, Method, Scorable
from ptb_lm.evaluation.neural_cache import NeuralCache
from ptb_lm.evaluation.plain import Plain
from ptb_lm.evaluation.tuning import Say, Tuned, tune_cache, tune_dynamic
from ptb_lm.registry import METHODS
from ptb_lm.runs.checkpoint import read_arrays
from ptb_lm.runs.results import check_figure
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files

TUNED = "tuned.json"
MIXTURE_WEIGHT = "weight "  # and the member's number: a constant in tuned.json
# What a damaged tuned.json raises when it is read.
_DAMAGED = ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError
STATISTICS = "gradient_rms.npz"

# Where nothing was tuned. Those of rms: Krause et al. 2017, section 5, and their code.
DEFAULTS = {
    "sgd": {"dynamic_rate": 0.1, "dynamic_decay": 0.0},
    "rms": {"dynamic_rate": 5e-5, "dynamic_decay": 0.002},
    "cache": {"cache_weight": 0.1, "cache_flatness": 0.3},
}


@dataclasses.dataclass(frozen=True)
class Constants:
    """Of dynamic evaluation and of the cache, by the names of their options."""

    dynamic_rate: float = 0.0
    dynamic_decay: float = 0.0
    cache_weight: float = 0.0
    cache_flatness: float = 0.0


class Adaptation:
    """Makes the method that the options name, for a run's model.

    Attributes:
      constants: what the method is made with.
    """

    def __init__(
        self,
        config: Config,
        run: TrainedRun | None = None,
        training_ids: Callable[[], np.ndarray] | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ):
        """Finds the constants.

        Args:
          config: of the command.
          run: whose model is evaluated; None: an export.
          training_ids: reads the training text, which the rule rms asks for once;
            None: it cannot be read here.
          progress: called with the number of steps done, and of all, while the
            gradients over the training text are measured.

        Raises:
          UserError: options contradict each other, or the run's files are damaged.
        """
        self._config, self._run = config, run
        self._training_ids, self._progress = training_ids, progress
        self._made: Dynamic | None = None
        self.constants = constants_of(config.evaluation, tuned_constants(run))

    def tune(
        self,
        model: Scorable,
        ids: np.ndarray,
        progress: Callable[[str, int, int], None] = lambda what, done, total: None,
        say: Say = lambda line: None,
    ) -> list[Tuned]:
        """Finds the constants on a validation text, and keeps them in the run's folder.

        Args:
          model: of the run.
          ids: the validation text, int32 [tokens].
          progress: called with what is tuned, the steps done, and the most there are.
          say: called with a line on each trial.

        Returns:
          What was found for dynamic evaluation and for the cache, where asked for.
        """
        found: list[Tuned] = []
        choice, run = self._config.evaluation, self._run
        assert run is not None, "an export has no validation text"

        def keep(name: str, tuned: Tuned) -> None:
            keep_constants(run, name, tuned.constants)
            self.constants = dataclasses.replace(self.constants, **tuned.constants)
            found.append(tuned)

        if choice.dynamic != "none":
            tuned = tune_dynamic(
                lambda rate, decay: self._dynamic(model, rate, decay),
                ids,
                self.constants.dynamic_rate,
                self.constants.dynamic_decay,
                lambda *place: progress("tuning dynamic evaluation", *place),
                say,
            )
            keep(choice.dynamic, tuned)
        if choice.cache_size:
            tuned = tune_cache(
                self._features(model),
                ids,
                choice.cache_size,
                self.constants.cache_flatness,
                lambda *place: progress("tuning the cache", *place),
                say,
            )
            keep(cache_key(choice), tuned)
        return found

    def method(self, model: Scorable) -> Method:
        """The method; it scores with the model's present weights.

        Raises:
          UserError: it needs what the model or the run cannot tell.
        """
        choice, constants = self._config.evaluation, self.constants
        if choice.method != "plain":
            return METHODS[choice.method](model, self._config)
        method = self._features(model)
        if choice.cache_size and constants.cache_weight > 0:
            return NeuralCache(
                method,
                choice.cache_size,
                constants.cache_weight,
                constants.cache_flatness,
            )
        return method

    def _features(self, model: Scorable) -> FeatureMethod:
        """The plain method or dynamic evaluation."""
        constants = self.constants
        if self._config.evaluation.dynamic == "none" or constants.dynamic_rate == 0:
            return Plain(model, self._config)
        return self._dynamic(model, constants.dynamic_rate, constants.dynamic_decay)

    def _dynamic(self, model: Scorable, rate: float, decay: float) -> Dynamic:
        """Dynamic evaluation with these constants, compiled once for all of them."""
        choice = self._config.evaluation
        constants = DynamicConstants(rate, decay, choice.dynamic_epsilon)
        if self._made is None:
            rms = self._statistics(model) if choice.dynamic == "rms" else None
            self._made = Dynamic(model, constants, choice.dynamic_steps, rms)
        self._made.constants = constants
        return self._made

    def _statistics(self, model: Scorable) -> dict[str, np.ndarray]:
        """Sizes of the gradients: from the run's file, which is made if need be."""
        run = self._run
        if run is None:
            raise UserError("--dynamic=rms: name a run folder; an export has no text")
        path, steps = run.path / STATISTICS, self._config.evaluation.dynamic_steps
        key = f"{run.weights_digest} {steps}"
        if (kept := _kept_statistics(path, key, run.weights)) is not None:
            return kept
        if self._training_ids is None:
            raise UserError(
                f"--dynamic=rms: --mode=evaluate --save_path={run.path} with the same"
                " --dynamic and --dynamic_steps has to measure the gradients first"
            )
        rms = gradient_rms(model, self._training_ids(), steps, self._progress)
        arrays: dict[str, Any] = {**rms, "key": key}
        files.write_atomically(path, lambda file: np.savez(file, **arrays))
        return rms


def _kept_statistics(
    path: pathlib.Path, key: str, weights: dict[str, np.ndarray]
) -> dict[str, np.ndarray] | None:
    """What a file holds of the sizes of the gradients.

    Args:
      path: of the file.
      key: of the weights and the segments that are wanted.
      weights: by name.

    Returns:
      Float32 arrays by the names of the weights; None where the file is missing or
      damaged, or belongs to other weights.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = read_arrays(archive)
        found = {name: arrays[name] for name in weights}
        is_whole = arrays["key"].item() == key and all(
            found[name].shape == weight.shape
            and found[name].dtype == np.float32
            and ((found[name] >= 0) & (found[name] < np.inf)).all()
            for name, weight in weights.items()
        )
    except Exception:  # a bad file makes NumPy raise almost anything
        return None
    return found if is_whole else None


def constants_of(
    choice: EvaluationConfig, tuned: dict[str, dict[str, float]]
) -> Constants:
    """The constants that are typed; where they are negative, tuned ones or defaults.

    Args:
      choice: the options.
      tuned: of `tuned_constants`.

    Raises:
      UserError: another method than plain, with options that build on that.
    """
    rule, cache = choice.dynamic, choice.cache_size
    if choice.method != "plain" and (rule != "none" or cache):
        raise UserError(
            f"--method={choice.method}: --dynamic and --cache_size build on the plain"
            " method"
        )
    known: dict[str, float] = {}
    if rule != "none":
        known |= DEFAULTS[rule] | tuned.get(rule, {})
    if cache:
        known |= DEFAULTS["cache"] | tuned.get(cache_key(choice), {})
    for name in known:
        typed = getattr(choice, name)
        known[name] = known[name] if typed < 0 else typed
    return Constants(**known)


def cache_key(choice: EvaluationConfig) -> str:
    """Name of a cache's constants: they depend on its size and on the method below."""
    return f"cache of {choice.cache_size}, {choice.dynamic}"


def tuned_constants(run: TrainedRun | None) -> dict[str, dict[str, float]]:
    """What was tuned for the present weights of a run, by name of the method.

    Raises:
      UserError: the run's file is damaged.
    """
    if run is None or not (run.path / TUNED).is_file():
        return {}
    path = run.path / TUNED
    try:
        content = json.loads(files.read_text(path))
        if content["weights"] != run.weights_digest:
            return {}
        constants: dict[str, dict[str, float]] = content["constants"]
        for values in constants.values():
            _check_constants(values)
    except _DAMAGED as error:
        raise UserError(
            f"{path}: damaged: {error}; remove it and tune again"
        ) from error
    return constants


def _check_constants(values: dict[str, Any]) -> None:
    """Raises an exception of `_DAMAGED` unless these are constants by name."""
    for name, value in values.items():
        check_figure(name, value, (int, float))
        if not name.startswith(MIXTURE_WEIGHT):
            Constants(**{name: value})  # TypeError: no such constant
            EvaluationConfig(**{name: value})  # UserError: out of its bounds


def keep_constants(run: TrainedRun, name: str, constants: dict[str, Any]) -> None:
    """Adds tuned constants to the run's file."""
    known = tuned_constants(run) | {name: constants}
    content = {"weights": run.weights_digest, "constants": known}
    files.write_json(run.path / TUNED, content)
