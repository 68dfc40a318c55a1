"""``--mode=report``: the results table and the figures of the runs in a folder."""

import sys

from ptb_lm.commands.mode import Mode
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.reports.figures import draw_runs
from ptb_lm.reports.table import recorded_runs, results_table
from ptb_lm.system import files, program
from ptb_lm.system.quiet_start import start_tensorflow


def run(config: Config) -> int:
    """Prints the table, draws the runs, and returns the exit status.

    Raises:
      UserError: there is no run, or one cannot be read.
    """
    folder = files.expand_home(config.run.save_path or "runs")
    runs = recorded_runs(folder)
    if any(run.results.training_flop is None for run in runs):
        start_tensorflow()  # which their cost is found with
    print(results_table(runs), end="", flush=True)
    place = folder / "figures"
    if config.look.figures_path:
        place = files.expand_home(config.look.figures_path)
    try:
        paths = draw_runs(runs, place)
    except UserError as error:  # the table is there
        program.say(error)
    else:
        print(f"Figures: {', '.join(map(str, paths))}", file=sys.stderr)
    return 0


MODE = Mode(run, reads=("save_path", "figures_path"))
