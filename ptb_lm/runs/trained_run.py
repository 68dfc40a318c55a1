"""A trained run as one object: configuration, vocabulary, weights, results."""

import dataclasses
import functools
import hashlib
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ptb_lm.config import Config
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.runs.folder import RunFolder
from ptb_lm.runs.results import Results

if TYPE_CHECKING:
    from ptb_lm.model.language_model import LanguageModel


class TrainedRun:
    """What a command needs of a run. It reads each file once, when first needed.

    Only `model` imports TensorFlow.
    """

    def __init__(self, path: pathlib.Path, kind: str = "best"):
        """Names the run.

        Args:
          path: its folder.
          kind: which weights, "best" (lowest valid perplexity) or "last".

        Raises:
          UserError: there is no run in the folder, or its flags.txt is damaged.
        """
        self.folder = RunFolder(path)
        self.kind = kind
        self.config: Config = self.folder.config()

    @property
    def path(self) -> pathlib.Path:
        """The run's folder."""
        return self.folder.path

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The run's tokens; UserError where they cannot be read."""
        return self.folder.vocabulary()

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The model's variables by name; UserError where there is no checkpoint."""
        return self.folder.weights(self.kind)

    @functools.cached_property
    def weights_digest(self) -> str:
        """Fingerprint of the weights; UserError where there is no checkpoint."""
        content = hashlib.sha256()
        for name, values in sorted(self.weights.items()):
            content.update(name.encode())
            content.update(np.ascontiguousarray(values).data)
        return content.hexdigest()

    @functools.cached_property
    def line_end_id(self) -> int | None:
        """Id of the token of a line end; None where the vocabulary has none."""
        token, tokens = TokenRules.of(self.config.data).line_end, self.vocabulary.tokens
        return tokens.index(token) if token in tokens else None

    @functools.cached_property
    def results(self) -> Results | None:
        """What was measured; None where there is no whole results.json."""
        try:
            return self.folder.read_results()
        except UserError:  # the first epoch may not be over
            return None

    def model(self, **options: Any) -> "LanguageModel":
        """The model with these weights.

        Args:
          **options: those of `ModelConfig` that have another value than in the run:
            rnn_mode, dtype.

        Raises:
          UserError: configuration, vocabulary and checkpoint do not belong together.
        """
        from ptb_lm.model.language_model import build_model
        from ptb_lm.model.sizes import count_parameters
        from ptb_lm.runs.checkpoint import assign

        changed = dataclasses.replace(self.config.model, **options)
        config = dataclasses.replace(self.config, model=changed)
        weights = self.weights
        held = sum(values.size for values in weights.values())
        wanted = count_parameters(config.model, len(self.vocabulary))
        if held < wanted:  # said before so many are made
            raise UserError(
                f"{self.path}: the checkpoint does not fit: it has {held:,} parameters,"
                f" and the model of flags.txt and vocabulary.json {wanted:,}"
            )
        model = build_model(config, len(self.vocabulary))
        try:
            assign(model.named_variables(), weights)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from error
        return model
