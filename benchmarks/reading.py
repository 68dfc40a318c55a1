"""What reading a corpus costs, for texts of 1 to 100 million tokens.

    python benchmarks/reading.py
    python benchmarks/reading.py --millions=1,10 --data_path=data/ptb

Each row is measured in processes of their own, on a made-up text of 10,000 words
with the frequencies of natural ones, or on the corpus of --data_path: CPU time to
read and encode it, the time to open it again from the cache, the time the training
loop's dataset takes for a window of the medium preset, and the peak memory beyond
that of the bare libraries. A text of 100 million tokens takes 1 GB of disk.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from workers import import_tensorflow, random_text

LINE = 20  # tokens, its end among them
BATCH, STEPS = 20, 35  # of the medium preset
WINDOWS = 2000


def write_text(folder, millions):
    """Three files of random words; the training text has so many million tokens."""
    rows = random_text(1_000_000 // LINE * (LINE - 1)).reshape(-1, LINE - 1)
    lines = [" ".join(f"w{word}" for word in row) + "\n" for row in rows.tolist()]
    folder.mkdir()
    for split in ("valid", "test"):
        (folder / f"{split}.txt").write_text("".join(lines[:5000]), encoding="utf-8")
    with (folder / "train.txt").open("w", encoding="utf-8") as file:
        for _ in range(millions):
            file.writelines(lines)


def measure(data_path, cache):
    """Prints tokens, and seconds of CPU, wall time, time of a window, bytes."""
    _, run_ptb = import_tensorflow()
    from ptb_lm.data.corpus import load_corpus
    from ptb_lm.data.windows import SequentialWindows
    from ptb_lm.training.input_pipeline import WindowStream

    config = run_ptb.parse([f"--data_path={data_path}", f"--cache_dir={cache}"])
    # TensorFlow is set up.
    warm = SequentialWindows(np.arange(1000, dtype=np.int32), 2, 3)
    list(WindowStream(warm).dataset)
    bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    corpus = load_corpus(config.data)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    train = corpus.splits["train"]
    windows = SequentialWindows(train, BATCH, STEPS)
    count = min(windows.count(0), WINDOWS)
    batches = WindowStream(windows).dataset.take(count)
    begin = time.process_time()
    for _ in batches:
        pass
    window = (time.process_time() - begin) / count
    tokens = sum(map(len, corpus.splits.values()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - bare
    print(tokens, cpu, wall, window, peak * 1024)


def row(data_path, cache):
    """Figures of a process that encodes, and of the next, which finds the cache."""
    runs = [
        subprocess.run(
            [sys.executable, __file__, "--measure", str(data_path), str(cache)],
            check=True,
            capture_output=True,
            text=True,
        )
        for _ in range(2)
    ]
    return [list(map(float, run.stdout.split())) for run in runs]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", default="1,10,100", help="of tokens")
    parser.add_argument("--data_path", default="", help="a corpus to measure too")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    print("| tokens | encoding, s of CPU | ns a token | memory, MB |", end="")
    print(" again, s | memory, MB | a window, ms |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(arguments.data_path)] if arguments.data_path else []
        paths += [pathlib.Path(folder, m) for m in arguments.millions.split(",") if m]
        for path in paths:
            if path.parent == pathlib.Path(folder):
                write_text(path, int(path.name))
            first, again = row(path, pathlib.Path(folder, "cache"))
            tokens, cpu, _, _, memory = first
            print(
                f"| {tokens:,.0f} | {cpu:.2f} | {cpu / tokens * 1e9:.0f}"
                f" | {memory / 1e6:.0f} | {again[2]:.3f} | {again[4] / 1e6:.0f}"
                f" | {again[3] * 1e3:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
