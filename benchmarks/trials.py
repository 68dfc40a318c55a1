"""Trains the trials of a plan, and makes the table of their costs and scores.

    python benchmarks/trials.py train PLAN --save_path=FOLDER --data_path=data/ptb
    python benchmarks/trials.py table FOLDER --plan=PLAN > results/trials/NAME.md

A plan is a text file. Each line has the name of a trial, a colon and its options; the
options of the trial `all` belong to every trial; # begins a comment:

    all:    --model=small --max_max_epoch=3
    plain:
    locked: --keep_prob=0.8 --dropout=sequence

`train` gives each trial and seed its folder in FOLDER, takes up what was stopped, and
leaves what is finished. Options that are not its own are for every trial. `table`
shows validation alone: constants are not to be chosen by the test text. It has the
trials in the order of the plan, or by name without one. It names the options of the
first trial, and for the others those that differ from it.
"""

import argparse
import concurrent.futures
import pathlib
import shlex
import statistics
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from ptb_lm.config import Config  # noqa: E402
from ptb_lm.options import format_value  # noqa: E402
from ptb_lm.reports.recorded import read_runs  # noqa: E402

HEADER = """\
| trial | options | seeds | PFLOP | valid after each epoch | valid at the end |
|---|---|--:|--:|---|--:|
"""


def read_plan(text):
    """Options of each trial, by its name."""
    lines = [line.partition("#")[0].partition(":") for line in text.splitlines()]
    trials = {
        name.strip(): shlex.split(rest) for name, _, rest in lines if name.strip()
    }
    common = trials.pop("all", [])
    return {name: [*common, *options] for name, options in trials.items()}


def train(arguments, added):
    """Trains every trial with every seed; returns the exit status."""
    trials = read_plan(arguments.plan.read_text(encoding="utf-8"))
    commands = {
        f"{name}-{seed}": [*options, *added, f"--seed={seed}"]
        for seed in arguments.seeds.split(",")
        for name, options in trials.items()
    }
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        waiting = {
            pool.submit(train_one, arguments.save_path / name, options): name
            for name, options in commands.items()
        }
        status = 0
        for done in concurrent.futures.as_completed(waiting):
            print(f"{waiting[done]}: {done.result()}", flush=True)
            status = status or int(done.result() != "finished")
    return status


def train_one(folder, options):
    """Trains in a folder; what it prints goes into a file beside that."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, PROJECT / "run_ptb.py", *options]
    with folder.with_suffix(".log").open("ab") as log:
        status = subprocess.run(
            [*command, f"--save_path={folder}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ).returncode
    return f"stopped with exit status {status}" if status else "finished"


def table(runs):
    """A row for each configuration, with the means over its seeds."""
    groups = {}
    for run in runs:
        groups.setdefault(frozenset(without_seed(run.config).items()), []).append(run)
    base, rows = without_seed(Config()), []
    for group in groups.values():
        options = without_seed(group[0].config)
        rows.append(row(group, difference(options, base)))
        if len(rows) == 1:  # the others are told by what differs from the first
            base = options
    return HEADER + "".join(rows)


def in_order(runs, plan):
    """The runs in the order of a plan's trials; those of no trial of it come last."""
    places = {name: place for place, name in enumerate(plan)}
    return sorted(runs, key=lambda run: places.get(trial(run), len(places)))


def trial(run):
    """The name of a run's trial."""
    return run.name.removesuffix(f"-{run.config.training.seed}")


def row(group, options):
    """Of runs that differ in their seeds alone."""
    valid = [[each.valid_perplexity for each in run.results.epochs] for run in group]
    last = [scores[-1] for scores in valid]
    means = map(statistics.mean, zip(*valid, strict=False))
    flop = statistics.mean(run.results.training_flop for run in group)
    wanted = group[0].config.training.max_max_epoch
    end = f"{statistics.mean(last):.2f}"
    if len(last) > 1:
        end += f" ± {statistics.stdev(last):.2f}"
    if min(map(len, valid)) < wanted:
        end = f"stopped before epoch {wanted}"
    cells = [
        trial(group[0]),
        f"`{options}`" if options else "",
        ", ".join(str(run.config.training.seed) for run in group),
        f"{flop / 1e15:.3f}",
        " ".join(f"{mean:.1f}" for mean in means),
        end,
    ]
    return "| " + " | ".join(cells) + " |\n"


def without_seed(config):
    """The options that define a run, but for its seed and its preset's name."""
    values = config.run_values()
    return {name: values[name] for name in values if name not in ("seed", "model")}


def difference(options, other):
    """The options that differ, as they are typed."""
    return " ".join(
        f"--{name}={format_value(options[name])}"
        for name in other
        if options[name] != other[name]
    )


def main():
    """Reads the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the trials of a plan")
    training.add_argument("plan", type=pathlib.Path)
    training.add_argument("--save_path", type=pathlib.Path, required=True)
    training.add_argument("--seeds", default="1", help="numbers, comma between them")
    training.add_argument("--jobs", type=int, default=1, help="trials at a time")
    making = commands.add_parser("table", help="print the table of recorded trials")
    making.add_argument("folder", type=pathlib.Path)
    making.add_argument("--plan", type=pathlib.Path, help="orders the trials")
    arguments, options = parser.parse_known_args()
    if arguments.command == "train":
        return train(arguments, options)
    if options:
        parser.error(f"unknown: {' '.join(options)}")
    plan = read_plan(arguments.plan.read_text("utf-8")) if arguments.plan else ()
    print(table(in_order(read_runs(arguments.folder).runs, plan)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
