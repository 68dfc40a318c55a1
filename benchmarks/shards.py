"""Encodes a generated corpus of many shards: processor time, memory, a second start.

python benchmarks/shards.py /tmp/zipf --tokens=100000000 --shards=100

It writes FOLDER/train-00000.txt and so on (once), valid.txt and test.txt, whose words
follow Zipf's law, and encodes them with 1 process, with 2 and so on, each into a cache
of its own. For each it prints the processor time of all processes, the wall time, and
the sum of the most memory that each process had; then the wall time of a second start.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np

WORDS = 60_000  # ids of 2 bytes
LINE = 25  # words
# A command of its own for each figure, so that it has its own processes and memory.
MEASURED = """
import json, resource, sys, time
begin = time.perf_counter()
from ptb_lm.config import DataConfig
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data import shard_pool

peaks, do = {}, shard_pool._Process.do

def peak(pid):
    status = open(f"/proc/{pid}/status").read()
    return int(status.partition("VmHWM:")[2].split()[0])

def watched(self, task):
    result = do(self, task)
    peaks[self._process.pid] = peak(self._process.pid)
    return result

shard_pool._Process.do = watched
folder, cache, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
corpus = load_corpus(
    DataConfig(data_path=folder, cache_dir=cache, encode_workers=workers)
)
wall = time.perf_counter() - begin
own, others = map(
    resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
)
print(json.dumps({
    "wall_seconds": wall,
    "processor_seconds": sum(u.ru_utime + u.ru_stime for u in (own, others)),
    "own_processor_seconds": own.ru_utime + own.ru_stime,
    "megabytes": (peak("self") + sum(peaks.values())) / 1024,
    "tokens": sum(map(len, corpus.splits.values())),
    "vocabulary": len(corpus.vocabulary),
    "digest": corpus.digest(),
}))
"""


def generate(folder, tokens, shards, seed=1):
    """Writes a corpus of words by Zipf's law, shard by shard; each line is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"train-{number:05d}.txt" for number in range(shards)]
    weights = 1.0 / np.arange(1, WORDS + 1)
    bounds = np.cumsum(weights) / weights.sum()
    words = np.array([spelled(number) for number in range(WORDS)], object)
    for number, name in enumerate([*names, "valid.txt", "test.txt"]):
        if (folder / name).exists():
            continue
        random = np.random.default_rng((seed, number))
        lines = tokens // shards // (LINE + 1)
        if number >= shards:
            lines = max(lines // 10, 1)
        drawn = words[np.searchsorted(bounds, random.random((lines, LINE)))]
        text = "\n".join(map(" ".join, drawn)) + "\n"
        (folder / f".{name}").write_text(text)
        (folder / f".{name}").rename(folder / name)


def spelled(number):
    """A word of two letters or more; frequent ones are short."""
    word = ""
    while number or len(word) < 2:
        number, place = divmod(number, 20)
        word += "etaoinshrdlucmfwypvb"[place]
    return word


def measure(folder, cache, workers):
    """The figures of one command."""
    command = [sys.executable, "-c", MEASURED, str(folder), str(cache), str(workers)]
    root = pathlib.Path(__file__).resolve().parents[1]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main():
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="where the corpus is written")
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--workers", default="1,2", help="numbers of processes")
    options = parser.parse_args()
    generate(options.folder, options.tokens, options.shards)
    for workers in map(int, options.workers.split(",")):
        cache = options.folder / f"cache-{workers}"
        shutil.rmtree(cache, ignore_errors=True)
        for name in ("first", "second"):
            figures = measure(options.folder, cache, workers)
            print(f"{workers} workers, {name} start: {json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
