"""Training and evaluation speed beside PyTorch, plain Keras and the machine.

    python benchmarks/benchmark.py                        everything
    python benchmarks/benchmark.py --rows="small, train" --rounds=5
    python benchmarks/benchmark.py --show                 what is recorded, no measuring

All sides of a comparison are set up first and then measured in turn, about a
second each, in many rounds; all but the side being measured are stopped. What
is reported is the median over the rounds of the ratio within a round, so that a
machine whose speed drifts cannot favour a side. PyTorch is needed for the
benchmark alone (`pip install torch==2.13.0`); --torch_python names an
interpreter that has it, and without one its columns stay empty.

The results are kept by machine and row in benchmarks/machines/MACHINE.json.
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
    CHUNK,
    DRAWN,
    LAYERS,
    MATRIX_SIZE,
    NETWORKS,
    STARTING,
    STEPS,
    STREAMS,
    VOCABULARY,
)

HERE = pathlib.Path(__file__).resolve().parent
MACHINES = HERE / "machines"
FIGURE = HERE.parent / "results" / "figures" / "speed.svg"
SIDES = {
    "train": ("ours", "pytorch", "keras", "ceiling"),
    "train, bfloat16": ("ours", "pytorch", "ours, float32"),
    "train, adaptive softmax": ("ours", "pytorch", "ours, full softmax"),
    "evaluate": ("ours", "pytorch"),
    "sample": ("ours", "ours, 32 streams", "pytorch", "ceiling"),
    **{workload: ("ours", "pytorch") for workload in STEPS},
    STARTING: ("ours", "pytorch"),
}
# The fewest repetitions of a turn of ours: evaluation in rows needs a long text, as the
# Penn Treebank's test text of 82,430 tokens.
LEAST = {"evaluate": 80}
# Instructions that tell processors apart, the widest first.
WIDEST = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "asimd")
# Networks by workload, in the order of the table.
PLAN = {
    "train": ("small", "medium", "large", "batch of 128", "medium GRU"),
    "train, bfloat16": ("medium", "large", "batch of 128"),
    "train, adaptive softmax": ("200,000 words",),
    "evaluate": ("small", "medium", "large"),
    "sample": ("small", "medium", "large"),
    STARTING: ("medium",),
    **{workload: ("medium",) for workload in STEPS},
}


class Worker:
    """A side of the comparison, stopped whenever it is not being measured."""

    def __init__(self, python, side, workload, network, folder=HERE, added=()):
        """Starts workers.py of a folder; `added` are more environment variables."""
        self.side = side
        self._process = subprocess.Popen(
            [python, str(folder / "workers.py"), side, workload, network],
            env={**os.environ, **dict(added)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._least = LEAST.get(workload, 1) if side.startswith("ours") else 1
        self._repetitions = self._least
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
        self._repetitions = max(round(seconds / per_repetition), self._least)
        return per_repetition

    def finish(self):
        """Ends the process and returns its peak memory in bytes."""
        self._process.send_signal(signal.SIGCONT)
        output, _ = self._process.communicate("")
        return int(output) if self.available and output.strip() else None


def compare(workload, network, arguments):
    """Measures all sides of one row; returns its figures, None without our side."""
    sides = [
        side
        for side in SIDES[workload]
        if side != "keras" or network in ("small", "medium", "large")
    ]
    workers = [
        Worker(
            arguments.torch_python if side == "pytorch" else sys.executable,
            side,
            workload,
            network,
        )
        for side in sides
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
                    units(worker.side, workload, network) / per_repetition
                )
    memory = {worker.side: worker.finish() for worker in workers}
    return summarize(workload, network, rates, memory)


def units(side, workload, network):
    """Tokens that one repetition of a side amounts to; of a start, 1.

    For the ceiling of training, those whose products of matrices take as many
    FLOP: 6 for each weight that multiplies, and token.
    """
    sizes = NETWORKS[network]
    if workload == STARTING:
        return 1
    if workload == "sample":
        streams = STREAMS if side == "ours, 32 streams" else 1
        return 1 if side == "ceiling" else DRAWN * streams
    if workload in STEPS:
        return DRAWN
    if workload == "evaluate":
        return CHUNK
    if side == "ceiling":
        gates = {"lstm": 4, "gru": 3}[sizes.cell]
        hidden = sizes.hidden
        weights = LAYERS * 2 * gates * hidden**2 + hidden * VOCABULARY
        return 2 * MATRIX_SIZE**3 / (6 * weights)
    return sizes.batch * sizes.steps


def summarize(workload, network, rates, memory):
    """Medians, and the spread of the ratios as quartiles."""
    row = {
        "workload": workload,
        "preset": network,
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
        form = "{:,.0f}"
        cells = [name_of(row)]
        if row["workload"] == STARTING:
            form, memory = "{:.1f} s", {}
            speed = {side: 1 / rate for side, rate in speed.items()}
        if "ours, 32 streams" in row["ratios"]:
            gain = 1 / row["ratios"]["ours, 32 streams"]["median"]
            cells[0] += f" ({STREAMS} streams: {gain:.1f} times)"
        for side in "ours, float32", "ours, full softmax":
            if side in row["ratios"]:
                gain = row["ratios"][side]["median"]
                cells[0] += f" ({gain:.2f} times {side.removeprefix('ours, ')})"
        cells += [
            form.format(speed[side]) if side in speed else ""
            for side in ("ours", "pytorch", "keras")
        ]
        cells += [ratio_cell(row, side) for side in ("pytorch", "keras", "ceiling")]
        cells.append(
            " / ".join(
                f"{memory[side] / 1e6:,.0f}" if memory.get(side) else "-"
                for side in ("ours", "pytorch")
            )
            if memory
            else ""
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def name_of(row):
    """What a row is called: the network and the work."""
    return f"{row['preset']}, {row['workload']}"


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
    from ptb_lm.runs.provenance import provenance, rounding

    known = provenance() | {"platform": platform.platform()}
    return known | {"instructions": rounding()["instructions"]}


def machine_name(known):
    """A name for a file: the maker, the widest instructions, and the cores."""
    about = known["machine"]
    maker = next(
        (each for each in ("Intel", "AMD", "Apple") if each in about["processor"]),
        "processor",
    )
    name = f"{maker}-{widest(known)}-{about['cores']}-cores"
    return name.lower().replace("_", "-")


def widest(known):
    """The instructions that tell a machine's processor from others."""
    instructions = known["instructions"].split()
    return next((each for each in WIDEST if each in instructions), "other")


def record(path, row):
    """Puts a row into a machine's file, in the order of PLAN; returns all its rows.

    A row that was measured before is replaced, and says with what it was measured.
    """
    known = machine()
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {(each["workload"], each["preset"]): each for each in kept}
    rows[row["workload"], row["preset"]] = row | {
        "versions": known["versions"],
        "git_revision": known["git_revision"],
    }
    places = [(workload, name) for workload in PLAN for name in PLAN[workload]]
    ordered = [rows[place] for place in places if place in rows]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": known, "rows": ordered}, indent=1) + "\n")
    return ordered


def recorded(folder=MACHINES):
    """The records of all machines: name of the file -> content."""
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(folder.glob("*.json"))
    }


def heading(record):
    """A machine in words."""
    about = record["machine"]["machine"]
    known = widest(record["machine"])
    return f"{about['cores']} cores of {about['processor']} ({known})"


def tables(records):
    """A table for each machine, as Markdown."""
    parts = [
        f"**{heading(record)}**\n\n{table(record['rows'])}"
        for record in records.values()
    ]
    return "\n\n".join(parts)


def ratios_by_machine(records):
    """Machine in words -> row -> ours / PyTorch."""
    return {
        heading(record): {
            name_of(row): row["ratios"]["pytorch"]["median"]
            for row in record["rows"]
            if "pytorch" in row["ratios"]
        }
        for record in records.values()
    }


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows",
        default="",
        help='part of the names of the rows to measure, as "medium" or "small, train"',
    )
    parser.add_argument("--rounds", type=int, default=15, help="of turns of all sides")
    parser.add_argument("--seconds", type=float, default=1.2, help="of one turn")
    parser.add_argument(
        "--torch_python", default=sys.executable, help="interpreter with PyTorch"
    )
    parser.add_argument(
        "--output", default=str(MACHINES), help="folder of the machines' files"
    )
    parser.add_argument("--figure", default=str(FIGURE), help="file for the bars")
    parser.add_argument(
        "--show", action="store_true", help="print and draw what is recorded"
    )
    return parser.parse_args()


def measure(arguments):
    """Measures the rows that are asked for, and records each."""
    path = pathlib.Path(arguments.output) / f"{machine_name(machine())}.json"
    for workload, names in PLAN.items():
        for name in names:
            row_name = name_of({"preset": name, "workload": workload})
            if arguments.rows not in row_name:
                continue
            print(f"{row_name}: {arguments.rounds} rounds", flush=True)
            row = compare(workload, name, arguments)
            if row is not None:
                record(path, row)
                print(table([row]), flush=True)


def main():
    arguments = parse_arguments()
    sys.path.insert(0, str(HERE.parent))
    from ptb_lm.errors import UserError
    from ptb_lm.reports.figures import draw_benchmark

    if not arguments.show:
        measure(arguments)
    records = recorded(pathlib.Path(arguments.output))
    print(tables(records))
    try:
        print(
            draw_benchmark(ratios_by_machine(records), pathlib.Path(arguments.figure))
        )
    except UserError as error:  # the figures are in the table too
        print(error, file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
