"""What a program without TensorFlow must know to read and write text with an export."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any, Self

from ptb_lm.config import Config
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.export.export_format import ExportFormat
from ptb_lm.inference.opening import metadata
from ptb_lm.inference.state_layout import StateLayout
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.runs.trained_run import TrainedRun

# Of model.json, and of what goes into the model and comes out of it. Format 2 has bytes
# for tokens, which a reader of format 1 would take for characters.
FORMAT, FORMAT_OF_BYTES = 1, 2


class StepFormat(ExportFormat):
    """A folder with one step of the model, whose weights --export_dtype gives a type.

    Attributes:
      folder: name of the folder if they are float32; else the type follows it.
    """

    folder: str
    options = ("export_dtype",)

    def __init__(self, export_dtype: str = "float32"):
        """Chooses the type of the weights."""
        self.export_dtype = export_dtype
        is_float = export_dtype == "float32"
        self.place = self.folder if is_float else f"{self.folder}-{export_dtype}"

    def with_options(self, config: Config) -> Self:
        """See `ExportFormat.with_options`."""
        return type(self)(config.evaluation.export_dtype)


def write_folder(
    path: pathlib.Path,
    name: str,
    content: bytes,
    run: TrainedRun,
    model: LanguageModel,
    export_dtype: str,
) -> None:
    """Writes a folder with a model, and with model.json beside it.

    model.json has the vocabulary, the rule that makes tokens of text (`token_type`,
    `normalize`), the ids of ``<unk>`` and of a line end (null where there is none),
    the parts of a state in their order, and the digest of the model's file. If tokens
    are bytes, an id is the byte, and the vocabulary has their names.

    Args:
      path: the folder, which is not there yet.
      name: of the model's file.
      content: of the model's file.
      run: the run.
      model: its model.
      export_dtype: of the weights in the file.

    Raises:
      OSError: it cannot be written.
    """
    are_bytes = TokenRules.of(run.config.data).are_bytes
    format_ = FORMAT_OF_BYTES if are_bytes else FORMAT
    facts: dict[str, Any] = {"format": format_, **metadata(run, model)}
    facts |= {
        "export_dtype": export_dtype,
        "sha256": hashlib.sha256(content).hexdigest(),
        "state": [dataclasses.asdict(part) for part in StateLayout(model).parts],
        "normalize": run.config.data.normalize,
        "line_end_id": run.line_end_id,
        "unknown_id": run.vocabulary.unknown_id,
        "tokens": run.vocabulary.tokens,
    }
    path.mkdir()
    (path / name).write_bytes(content)
    text = json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
    (path / "model.json").write_text(text, encoding="utf-8")
