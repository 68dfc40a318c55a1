"""``--mode=report``: the results tables and the figures of the runs in a folder."""

import shutil
import sys

from ptb_lm.commands.mode import Mode
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.reports.figures import draw_runs
from ptb_lm.reports.layout import markdown_text, paragraph, printable
from ptb_lm.reports.not_run import not_run_table
from ptb_lm.reports.recorded import PTB, read_runs
from ptb_lm.reports.table import results_table
from ptb_lm.system import files, program
from ptb_lm.system.quiet_start import start_tensorflow


def run(config: Config) -> int:
    """Prints the tables, draws the runs, and returns the exit status.

    Raises:
      UserError: there is no run, or one cannot be read.
    """
    folder = files.expand_home(config.run.save_path or "runs")
    recorded = read_runs(folder)
    runs = recorded.runs
    has_ptb = any(run.corpus == PTB for run in runs)
    if has_ptb or any(run.results.training_flop is None for run in runs):
        start_tensorflow()  # which costs are found with
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(results_table(runs, width), end="")
    shown = markdown_text if width is None else printable
    without = [*map(shown, recorded.without_epoch)]
    if without:
        text = f"Left out, without an epoch so far: {', '.join(without)}."
        print("\n" + paragraph(text, width), end="")
    if has_ptb and (table := not_run_table(runs, width)):
        print("\nPublished, and not run here to the end:\n\n" + table, end="")
    sys.stdout.flush()
    place = folder / "figures"
    if config.look.figures_path:
        place = files.expand_home(config.look.figures_path)
    try:
        figures = draw_runs(runs, place)
    except UserError as error:  # the tables are there
        program.say(error)
        return 0
    if figures.left_out:
        names = ", ".join(map(printable, figures.left_out))
        print(f"Not drawn, for one epoch makes no curve: {names}", file=sys.stderr)
    if figures.paths:
        print(f"Figures: {', '.join(map(str, figures.paths))}", file=sys.stderr)
    return 0


MODE = Mode(run, reads=("save_path", "figures_path"))
