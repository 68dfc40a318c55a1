"""``--mode=neighbours``: the nearest words of a trained model's embedding."""

from ptb_lm.commands.mode import TRAINED_RUN, Mode
from ptb_lm.config import Config
from ptb_lm.reports.neighbours import neighbours_table
from ptb_lm.runs.resuming import run_path
from ptb_lm.runs.trained_run import TrainedRun


def run(config: Config) -> int:
    """Prints the table, and returns the exit status.

    Raises:
      UserError: there is no run, or it does not know a word.
    """
    trained = TrainedRun(run_path(config), config.evaluation.weights)
    words = config.look.words.split()
    print(neighbours_table(trained, words, config.look.num_neighbours), end="")
    return 0


MODE = Mode(
    run,
    reads=(*TRAINED_RUN, "words", "num_neighbours"),
    replaces={"save_path": ("model", "data_path")},
)
