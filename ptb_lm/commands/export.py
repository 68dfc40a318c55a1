"""``--mode=export``: a trained run in the formats that other programs read."""

import sys

from ptb_lm.commands.mode import TRAINED_RUN, Mode
from ptb_lm.config import Config
from ptb_lm.runs.resuming import run_path
from ptb_lm.runs.trained_run import TrainedRun
from ptb_lm.system.progress import Progress
from ptb_lm.system.quiet_start import start_tensorflow


def run(config: Config) -> int:
    """Writes the exports, says where they are, and returns the exit status.

    Raises:
      UserError: as `formats` and `export_run`.
    """
    # Where there is no run, says so before TensorFlow starts.
    trained = TrainedRun(run_path(config), config.evaluation.weights)
    progress = Progress(sys.stderr)
    with progress.phase("Starting TensorFlow"):
        start_tensorflow()
    from ptb_lm.export.exporter import export_run, formats

    name = config.evaluation.export_format
    with progress.phase(f"Exporting {trained.path.name}"):
        paths = export_run(trained, name, config)
    first, *others = zip(paths, formats(name, config), strict=True)
    print(f"{first[0]}: {first[1].content(trained)}; {first[1].hint(first[0])}")
    for path, export_format in others:
        print(f"{path}: the same for {export_format.reader}")
    return 0


MODE = Mode(
    run,
    reads=(*TRAINED_RUN, "export_format", "export_dtype", "ngram_order"),
    replaces={"save_path": ("model", "data_path")},
)
