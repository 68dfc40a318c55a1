"""Training and evaluation speed beside PyTorch, plain Keras and the machine.

    python benchmarks/benchmark.py                        everything
    python benchmarks/benchmark.py --presets=small --rounds=5

All sides of a comparison are set up first and then measured in turn, about a
second each, in many rounds; all but the side being measured are stopped. What
is reported is the median over the rounds of the ratio within a round, so that a
machine whose speed drifts cannot favour a side. PyTorch is needed for the
benchmark alone (`pip install torch==2.13.0`); --torch_python names an
interpreter that has it, and without one its columns stay empty.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys

from workers import (
    BATCH,
    CHUNK,
    DRAWN,
    LAYERS,
    MATRIX_SIZE,
    PRESETS,
    STEPS,
    STREAMS,
    VOCABULARY,
)

HERE = pathlib.Path(__file__).resolve().parent
FIGURE = HERE.parent / "results" / "figures" / "speed.svg"
SIDES = {
    "train": ("ours", "pytorch", "keras", "ceiling"),
    "evaluate": ("ours", "pytorch"),
    "sample": ("ours", "ours, 32 streams", "pytorch", "ceiling"),
    **{workload: ("ours", "pytorch") for workload in STEPS},
}


class Worker:
    """A side of the comparison, stopped whenever it is not being measured."""

    def __init__(self, python, side, workload, preset, folder=HERE):
        """Starts workers.py of a folder."""
        self.side = side
        self._process = subprocess.Popen(
            [python, str(folder / "workers.py"), side, workload, str(preset)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._repetitions = 1
        self.available = self._read_line() == "ready"
        self._stop()

    def _read_line(self):
        """Next line of the protocol; empty once the process is gone."""
        return self._process.stdout.readline().strip()

    def _stop(self):
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGSTOP)

    def measure(self, seconds):
        """Works for about so many seconds; returns seconds per repetition."""
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(f"{self._repetitions}\n")
        self._process.stdin.flush()
        per_repetition = float(self._read_line()) / self._repetitions
        self._stop()
        self._repetitions = max(round(seconds / per_repetition), 1)
        return per_repetition

    def finish(self):
        """Ends the process and returns its peak memory in bytes."""
        self._process.send_signal(signal.SIGCONT)
        output, _ = self._process.communicate("")
        return int(output) if self.available and output.strip() else None


def compare(workload, preset, arguments):
    """Measures all sides of one row; returns its figures, None without our side."""
    workers = [
        Worker(
            arguments.torch_python if side == "pytorch" else sys.executable,
            side,
            workload,
            preset,
        )
        for side in SIDES[workload]
    ]
    missing = [worker.side for worker in workers if not worker.available]
    workers = [worker for worker in workers if worker.available]
    for side in missing:
        print(f"{side} is not available here; its columns stay empty", flush=True)
    if "ours" in missing:
        for worker in workers:
            worker.finish()
        return None
    rates = {worker.side: [] for worker in workers}
    for number in range(-1, arguments.rounds):  # the first round sets the lengths
        # Every other round runs backwards, so that no side always follows another.
        for worker in workers if number % 2 else reversed(workers):
            per_repetition = worker.measure(arguments.seconds)
            if number >= 0:
                rates[worker.side].append(
                    units(worker.side, workload, preset) / per_repetition
                )
    memory = {worker.side: worker.finish() for worker in workers}
    return summarize(workload, preset, rates, memory)


def units(side, workload, preset):
    """Tokens that one repetition of a side amounts to.

    For the ceiling of training, those whose products of matrices take as many
    FLOP: 6 for each weight that multiplies, and token.
    """
    hidden, steps = PRESETS[preset][:2]
    if workload == "train" and side == "ceiling":
        weights = LAYERS * 8 * hidden**2 + hidden * VOCABULARY
        return 2 * MATRIX_SIZE**3 / (6 * weights)
    if workload == "sample":
        streams = STREAMS if side == "ours, 32 streams" else 1
        return 1 if side == "ceiling" else DRAWN * streams
    if workload in STEPS:
        return DRAWN
    return BATCH * steps if workload == "train" else CHUNK


def summarize(workload, preset, rates, memory):
    """Medians, and the spread of the ratios as quartiles."""
    row = {
        "workload": workload,
        "preset": preset,
        "rounds": len(rates["ours"]),
        "rates": rates,
        "peak_memory_bytes": memory,
        "tokens_per_second": {
            side: statistics.median(values) for side, values in rates.items()
        },
        "ratios": {},
    }
    for side, values in rates.items():
        if side == "ours":
            continue
        ratios = [
            ours / other for ours, other in zip(rates["ours"], values, strict=True)
        ]
        quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        row["ratios"][side] = {
            "median": statistics.median(ratios),
            "quartiles": [quartiles[0], quartiles[2]],
        }
    return row


def table(rows):
    """The rows as Markdown."""
    lines = [
        "| | ours, tokens/s | PyTorch | Keras | ours / PyTorch | ours / Keras |"
        " share of the ceiling | peak memory, MB: ours / PyTorch |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        speed, memory = row["tokens_per_second"], row["peak_memory_bytes"]
        cells = [f"{row['preset']}, {row['workload']}"]
        if "ours, 32 streams" in row["ratios"]:
            gain = 1 / row["ratios"]["ours, 32 streams"]["median"]
            cells[0] += f" ({STREAMS} streams: {gain:.1f} times)"
        cells += [
            f"{speed[side]:,.0f}" if side in speed else ""
            for side in ("ours", "pytorch", "keras")
        ]
        cells += [ratio_cell(row, side) for side in ("pytorch", "keras", "ceiling")]
        cells.append(
            " / ".join(
                f"{memory[side] / 1e6:,.0f}" if memory.get(side) else "-"
                for side in ("ours", "pytorch")
            )
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio_cell(row, side):
    """A ratio as median and quartiles; the ceiling as a percentage."""
    if side not in row["ratios"]:
        return ""
    ratio = row["ratios"][side]
    low, high = ratio["quartiles"]
    if side == "ceiling":
        return f"{ratio['median']:.0%} ({low:.0%} to {high:.0%})"
    return f"{ratio['median']:.2f} ({low:.2f} to {high:.2f})"


def machine():
    """What the figures were measured on."""
    sys.path.insert(0, str(HERE.parent))
    from ptb_lm.runs.provenance import provenance

    return provenance() | {"platform": platform.platform()}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", default=",".join(PRESETS), help="presets to train")
    parser.add_argument("--rounds", type=int, default=31, help="of turns of all sides")
    parser.add_argument("--seconds", type=float, default=1.2, help="of one turn")
    parser.add_argument(
        "--torch_python", default=sys.executable, help="interpreter with PyTorch"
    )
    parser.add_argument(
        "--output", default=str(HERE / "results.json"), help="file for the results"
    )
    parser.add_argument("--figure", default=str(FIGURE), help="file for the bars")
    parser.add_argument("--evaluate", default="medium", help="presets to evaluate")
    parser.add_argument("--sample", default="medium", help="presets to sample from")
    parser.add_argument(
        "--step", default="medium", help="presets whose exports read token by token"
    )
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    plan = [("train", name) for name in arguments.presets.split(",") if name]
    plan += [("evaluate", name) for name in arguments.evaluate.split(",") if name]
    plan += [("sample", name) for name in arguments.sample.split(",") if name]
    stepping = [name for name in arguments.step.split(",") if name]
    plan += [(workload, name) for name in stepping for workload in STEPS]
    rows = []
    for workload, preset in plan:
        print(f"{preset}, {workload}: {arguments.rounds} rounds", flush=True)
        row = compare(workload, preset, arguments)
        if row is None:
            continue
        rows.append(row)
        result = {"machine": machine(), "rows": rows}
        pathlib.Path(arguments.output).write_text(json.dumps(result, indent=1) + "\n")
        print(table(rows[-1:]), flush=True)
    print(table(rows))
    from ptb_lm.errors import UserError
    from ptb_lm.reports.figures import draw_benchmark

    try:
        print(draw_benchmark(rows, pathlib.Path(arguments.figure)))
    except UserError as error:  # the figures are in the table too
        print(error, file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
