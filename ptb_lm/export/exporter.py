"""Writes a run's exports so that each is whole whenever it is read."""

import os
import pathlib
import shutil
import tempfile
import time

import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.export.export_format import ExportFormat
from ptb_lm.registry import EXPORT_FORMATS
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system import files
from ptb_lm.system.quiet_start import tensorflow_warnings_held_back

DEFAULTS = Config()
STALE_SECONDS = 3600  # what an export that was killed left behind is removed then


def export_run(
    run: TrainedRun, export_format: str = "", config: Config = DEFAULTS
) -> list[pathlib.Path]:
    """Writes a run's exports into its folder.

    It writes all of them under temporary names and syncs them. Only then it renames
    each into its place.

    Args:
      run: the run, with its choice of weights. The export repeats `run.results`.
      export_format: a name in `EXPORT_FORMATS`; empty: all formats with `by_default`.
      config: of the command, with the options of the formats.

    Returns:
      The paths of the exports, in the order of `formats`.

    Raises:
      UserError: as `TrainedRun.model`, a format cannot express the model, or an
        export cannot be written.
    """
    # Where cuDNN is in a graph, the graph needs a GPU.
    model = run.model(rnn_mode="fused")
    wanted = formats(export_format, config)
    path = run.path / wanted[0].place
    try:
        _remove_stale(run.path)
        with (
            tempfile.TemporaryDirectory(dir=run.path, prefix=".export.") as aside,
            tensorflow_warnings_held_back(),
        ):
            for each in wanted:
                path = run.path / each.place
                each.write(run, model, pathlib.Path(aside) / each.place)
            _sync(pathlib.Path(aside))
            for each in wanted:
                path = run.path / each.place
                _put(pathlib.Path(aside) / each.place, path)
            files.sync_folder(run.path)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{path}: cannot write: {files.reason(error)}") from error
    return [run.path / each.place for each in wanted]


def formats(export_format: str = "", config: Config = DEFAULTS) -> list[ExportFormat]:
    """The format of a name; for the empty name, all formats with `by_default`.

    Raises:
      UserError: an option is set that other formats read, and these do not.
    """
    every = {name: EXPORT_FORMATS[name] for name in EXPORT_FORMATS}
    wanted = [each for each in every.values() if each.by_default]
    if export_format:
        wanted = [every[export_format]]
    read = {option for each in wanted for option in each.options}
    for option in sorted({o for each in every.values() for o in each.options} - read):
        value = getattr(config.evaluation, option)
        if value != getattr(DEFAULTS.evaluation, option):
            readers = [name for name, each in every.items() if option in each.options]
            raise UserError(
                f"--{option}={value} has no effect here; it is for --export_format="
                f"{' or '.join(readers)}"
            )
    return [each.with_options(config) for each in wanted]


def _put(new: pathlib.Path, path: pathlib.Path) -> None:
    """Puts a file or folder into the place of an older one."""
    if new.is_dir():
        files.replace_folder(path, new)
    else:
        new.replace(path)


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
