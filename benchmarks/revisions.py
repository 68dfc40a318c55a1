"""The speed of this checkout beside that of another one, an older revision say.

    git worktree add ../before REVISION
    python benchmarks/revisions.py --other=../before

Or beside itself, with and without an environment variable:

    python benchmarks/revisions.py --other=. --set=NAME=VALUE

Each workload is run by the workers.py of its own checkout. Both are set up first and
then measured in turn, as benchmark.py does; what is printed is the median over the
rounds of this checkout's speed over the other's, with quartiles.
"""

import argparse
import pathlib
import statistics
import sys

from benchmark import HERE, Worker

WORKLOADS = [
    ("train", "small"),
    ("train", "medium"),
    ("evaluate", "medium"),
    ("sample", "medium"),
]


def ratios(workload, preset, arguments):
    """Speed of this checkout over the other's, in each round."""
    other = arguments.other.resolve() / "benchmarks"
    workers = [
        Worker(sys.executable, "ours", workload, preset, folder, added)
        for folder, added in ((HERE, arguments.set), (other, ()))
    ]
    found = []
    for number in range(-1, arguments.rounds):  # the first round sets the lengths
        # Every other round runs backwards, so that no side always follows the other.
        order = workers if number % 2 else reversed(workers)
        seconds = {worker: worker.measure(arguments.seconds) for worker in order}
        if number >= 0:
            found.append(seconds[workers[1]] / seconds[workers[0]])
    for worker in workers:
        worker.finish()
    return found


def variable(text):
    """Name and value of an environment variable."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: no NAME=VALUE")
    return name, value


def main():
    """Prints a row for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=variable,
        metavar="NAME=VALUE",
        help="environment variable of this checkout's side",
    )
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=1.2)
    arguments = parser.parse_args()
    print("this / other              median  quartiles")
    for workload, preset in WORKLOADS:
        found = ratios(workload, preset, arguments)
        low, median, high = statistics.quantiles(found, n=4)
        label = f"{preset}, {workload}"
        print(f"{label:25} {median:6.3f}  {low:.3f} to {high:.3f}", flush=True)


if __name__ == "__main__":
    main()
