"""The files that a run is exported to: one SavedModel, and one for Keras."""

import os
import pathlib
import shutil
import tempfile
import time
from typing import Any

import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.inference.opening import text_model
from ptb_lm.runs.folder import RunFolder
from ptb_lm.system import files
from ptb_lm.system.quiet_start import tensorflow_warnings_held_back

STALE_SECONDS = 3600  # what an export that was killed left behind is removed then


def export_run(
    folder: RunFolder, weights: str = "best", results: dict[str, Any] | None = None
) -> pathlib.Path:
    """Writes a run's saved_model/ and model.keras.

    Each is written aside, synced, and put in place at once, so that it is whole
    whenever it is read.

    Args:
      folder: the run.
      weights: "best" or "last".
      results: as in `text_model`.

    Returns:
      The SavedModel's path.

    Raises:
      UserError: as `text_model`, or it cannot be written.
    """
    exported = text_model(folder, weights, results)
    path = folder.path / "saved_model"
    try:
        _remove_stale(folder.path)
        with (
            tempfile.TemporaryDirectory(dir=folder.path, prefix=".export.") as aside,
            tensorflow_warnings_held_back(),
        ):
            new = pathlib.Path(aside) / "new"
            exported.save(new)
            keras_file = pathlib.Path(aside) / "model.keras"
            exported.keras_model().save(keras_file)
            _sync(pathlib.Path(aside))
            files.replace_folder(path, new)
            keras_file.replace(folder.path / "model.keras")
            files.sync_folder(folder.path)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{path}: cannot write: {files.reason(error)}") from error
    return path


def _sync(folder: pathlib.Path) -> None:
    """Makes all below a folder durable."""
    for path in folder.rglob("*"):
        if path.is_dir():
            files.sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what killed exports left; a young one may be at work."""
    for path in folder.glob(".export.*"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
