"""A corpus in shards is the corpus in one file, however it is encoded."""

import gzip
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.config import DataConfig
from ptb_lm.data import digests, shard_worker, shards
from ptb_lm.data.corpus import digest_of, load_corpus
from ptb_lm.data.text_source import FileText
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from tests.support.corpora import SPLITS, assert_same, write_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = {
    "train": ["the cat sat\nthe dog\n", "a <unk> sat\n\n", "the end\n"],
    "valid": ["the dog sat\n", "the cat\n"],
    "test": ["a cat\n"],
}
LAYOUTS = {
    "beside": "{split}-{number:03d}.txt",
    "compressed": "{split}-{number:03d}.txt.gz",
    "within": "{split}/{number}.txt",
    "benchmark": "{split}/news.en-{number:05d}-of-00100",
}


def write_shards(folder, texts, layout="beside"):
    for split, pieces in texts.items():
        for number, text in enumerate(pieces):
            path = folder / LAYOUTS[layout].format(split=split, number=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            data = text if isinstance(text, bytes) else text.encode()
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return folder


def load(folder, cache, **options):
    return load_corpus(
        DataConfig(data_path=str(folder), cache_dir=str(cache), **options)
    )


def kept(cache):
    """Path -> inode of the encoded shards."""
    paths = pathlib.Path(cache).glob("shards/*.ids")
    return {path.name: path.stat().st_ino for path in paths}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("token_type", ["word", "char", "byte"])
def test_shards_are_one_text(tmp_path, layout, token_type):
    one = {split: "".join(pieces) for split, pieces in TEXTS.items()}
    expected = load(
        write_folder(tmp_path / "one", one, ""),
        tmp_path / "cache-1",
        token_type=token_type,
    )
    folder = write_shards(tmp_path / "many", TEXTS, layout)
    for cache in ("cache-2", "cache-2", "/proc/none"):
        found = load(folder, tmp_path / cache, token_type=token_type)
        assert_same(found, expected)
        assert found.facts == expected.facts
        assert found.split_digests == expected.split_digests


LINES = st.lists(
    st.sampled_from(["a b\n", "\n", "c <unk> a\n", "B\u00e9 d\r\n", "\u65e5 \u672c\n"]),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(
    train=st.lists(LINES, min_size=1, max_size=4),
    cut=st.booleans(),
    options=st.sampled_from(
        [
            {},
            {"min_count": 2},
            {"max_vocab_size": 3},
            {"token_type": "char"},
            {"normalize": "letters"},
            {"token_type": "char", "normalize": "letters"},
        ]
    ),
)
def test_shards_and_their_concatenation(train, cut, options):
    """Also where the last line of a shard has no end: it gets one."""
    train = ["a a b\n", *("".join(lines) for lines in train)]
    given_ = [text.removesuffix("\n") for text in train] if cut else train
    closed = [t + "\n" * bool(t and not t.endswith("\n")) for t in given_]
    others = {"valid": "b a <unk>\n", "test": "a\n"}
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        whole = {"train": "".join(closed)} | others
        expected = load(write_folder(place / "one", whole, ""), place / "1", **options)
        many = {"train": given_} | {s: [text] for s, text in others.items()}
        found = load(write_shards(place / "many", many), place / "2", **options)
        assert_same(found, expected)
        assert found.facts == expected.facts


def test_bytes_of_shards_are_joined_as_they_are(tmp_path):
    texts = {"train": [b"a", b"\r", b"\n\xff"], "valid": [b"\0", b"b"], "test": [b"c"]}
    corpus = load(
        write_shards(tmp_path / "c", texts), tmp_path / "k", token_type="byte"
    )
    for split, pieces in texts.items():
        found = corpus.splits[split].astype(np.uint8).tobytes()
        assert found == b"".join(pieces)


def contents(cache):
    """What the cache holds of encoded texts, by the names of the files."""
    paths = pathlib.Path(cache).glob("*/**/*")
    return {
        path.relative_to(cache): path.read_bytes()
        for path in paths
        if path.is_file() and not path.name.startswith("known-")
    }


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3, 7])
def test_the_number_of_processes_does_not_matter(tmp_path, workers):
    rng = np.random.default_rng(1)
    words = [f"w{number}" for number in range(3000)]
    texts = {
        split: [
            "\n".join(map(" ".join, rng.choice(words, (200, 20)))) for _ in range(5)
        ]
        for split in SPLITS
    }
    folder = write_shards(tmp_path / "corpus", texts)
    for number in (1, workers):
        load(folder, tmp_path / str(number), encode_workers=number)
    assert contents(tmp_path / "1") == contents(tmp_path / str(workers))


def test_ids_take_two_bytes_if_they_are_enough(tmp_path):
    assert shards.id_type(65_536) == np.uint16 and shards.id_type(65_537) == np.int32
    for size, dtype in ((65_535, np.uint16), (65_536, np.int32)):
        words = "\n".join(f"w{number}" for number in range(size))  # and <eos>
        texts = {"train": [words, words], "valid": ["w1"], "test": ["w2 w3"]}
        folder = write_shards(tmp_path / str(size), texts)
        corpus = load(folder, tmp_path / "cache", min_count=1)
        assert len(corpus.vocabulary) == size + 1
        ids = corpus.splits["train"]
        assert ids.dtype == dtype
        half = len(ids) // 2
        np.testing.assert_array_equal(ids[:half], ids[half:])
        assert corpus.vocabulary.decode(corpus.splits["test"]) == ["w2", "w3", "<eos>"]
        assert digest_of(ids) == digest_of(ids.astype(np.int32))


def test_a_changed_shard_alone_is_encoded_again(tmp_path):
    folder, cache = write_shards(tmp_path / "corpus", TEXTS), tmp_path / "cache"
    load(folder, cache)
    before = kept(cache)
    assert len(before) == 6
    (folder / "train-001.txt").write_text("zebra zebra zebra\n")
    found = load(folder, cache)
    after = kept(cache)
    assert before.items() <= after.items() and len(after) == 7
    changed = TEXTS | {"train": [TEXTS["train"][0], "zebra zebra zebra\n", "the end\n"]}
    assert_same(found, load(write_shards(tmp_path / "x", changed), tmp_path / "other"))


KILLED = """
import os, signal, sys
from ptb_lm.config import DataConfig
from ptb_lm.data import shard_worker
from ptb_lm.data.corpus import load_corpus
encode, calls = shard_worker.encode_shard, []

def killed(*arguments):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(*arguments)

shard_worker.encode_shard = killed
load_corpus(DataConfig(data_path=sys.argv[1], cache_dir=sys.argv[2], encode_workers=1))
"""


def python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


@pytest.mark.slow
def test_a_killed_encoding_goes_on_with_the_shards_that_are_there(tmp_path):
    folder, cache = write_shards(tmp_path / "corpus", TEXTS), tmp_path / "cache"
    assert python(KILLED, folder, cache).wait() == -signal.SIGKILL
    before = kept(cache)
    assert len(before) == 3
    found = load(folder, cache)
    assert before.items() <= kept(cache).items()
    assert_same(found, load(folder, tmp_path / "other"))


@pytest.mark.slow
def test_processes_end_with_the_command(tmp_path):
    code = """
import sys
from ptb_lm.data.shard_pool import ShardPool
with ShardPool(2) as pool:
    print(*(process._process.pid for process in pool._processes), flush=True)
    sys.stdin.read()
"""
    parent = python(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 60
    while any(is_running(pid) for pid in children):
        assert time.monotonic() < end, "they go on"
        time.sleep(0.05)


def is_running(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"


@pytest.mark.parametrize("damage", ["ids", "json"])
def test_a_damaged_shard_is_encoded_again(tmp_path, damage):
    folder, cache = write_shards(tmp_path / "corpus", TEXTS), tmp_path / "cache"
    first = load(folder, cache)
    whole = contents(cache)
    for path in cache.glob(f"shards/*.{damage}"):
        if not path.name.startswith("known-"):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    (folder / "valid-000.txt").write_text("the dog\n")  # so that they are read
    load(folder, cache)
    (folder / "valid-000.txt").write_text(TEXTS["valid"][0])
    shutil.rmtree(cache / "encoded")
    assert_same(load(folder, cache), first)
    assert whole.items() <= contents(cache).items()


def test_digests_are_remembered(tmp_path, monkeypatch):
    folder, cache = write_shards(tmp_path / "corpus", TEXTS), tmp_path / "cache"
    read = []
    fingerprint = FileText.fingerprint
    monkeypatch.setattr(
        FileText, "fingerprint", lambda self: read.append(self) or fingerprint(self)
    )
    load(folder, cache)
    read.clear()
    load(folder, cache)
    assert read, "files that changed a moment ago are read again"
    monkeypatch.setattr(digests, "RACY_NS", 0)
    load(folder, cache)
    read.clear()
    first = load(folder, cache)
    assert {piece.path.name for piece in read} == {"test-000.txt"}  # of one file
    # What has the same size and time of modification is another file all the same.
    path = folder / "train-000.txt"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(TEXTS["train"][0].replace("cat", "cow"))
    os.utime(path, ns=times)
    second = load(folder, cache)
    assert "cow" in second.vocabulary and "cow" not in first.vocabulary


@pytest.mark.parametrize("content", ["[]", '{"format": 1, "known": 3}', "\0", "{}"])
def test_damaged_memory_of_digests_is_done_without(tmp_path, content):
    folder, cache = write_shards(tmp_path / "corpus", TEXTS), tmp_path / "cache"
    first = load(folder, cache)
    for path in cache.glob("shards/known-*"):
        path.write_text(content)
    (folder / "train-000.txt").touch()
    assert_same(load(folder, cache), first)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_mistakes_name_the_file_and_the_line(tmp_path, workers):
    texts = TEXTS | {"train": ["the cat sat\n", "a dog\n", "the end\n"]}  # no <unk>

    def fails(name, data, expected, **options):
        folder = write_shards(tmp_path / "corpus", texts, "compressed")
        (folder / name).write_bytes(data)
        options |= {"encode_workers": workers}
        with pytest.raises(UserError, match=expected) as caught:
            load(folder, tmp_path / "cache", **options)
        assert "\n" not in str(caught.value)
        for path in folder.iterdir():
            path.unlink()

    whole = gzip.compress(b"the cat\n" * 999)
    name, unicode = "train-001.txt.gz", gzip.compress(b"a\nb\n\xff\n")
    fails(name, whole[: len(whole) // 2], rf"{name}: not a whole \.gz file \(.*end")
    fails(name, whole[:-9] + b"\0" + whole[-8:], rf"{name}: not a whole \.gz file")
    fails(name, b"text\n", rf"{name}: not a whole \.gz file")
    fails(name, unicode, rf"{name}, line 3: not UTF-8 text")
    zebra = gzip.compress(b"the\na zebra\n")
    fails(
        "test-000.txt.gz", zebra, r"test-000\.txt\.gz, line 2: .* 'zebra'", min_count=1
    )


def test_no_token_is_unknown_with_a_vocabulary_of_another_run(tmp_path):
    folder = write_shards(tmp_path / "corpus", TEXTS)
    given_ = Vocabulary(["<unk>", "<eos>", "the", "cat"])
    config = DataConfig(data_path=str(folder), cache_dir=str(tmp_path / "cache"))
    found = load_corpus(config, vocabulary=given_)
    assert found.vocabulary == given_
    alone = load_corpus(
        DataConfig(data_path=str(folder), cache_dir="/proc/none"), vocabulary=given_
    )
    assert_same(found, alone)
    assert found.facts == alone.facts
    assert found.facts.replaced["train"] == 5


def test_a_mixed_layout_is_refused(tmp_path):
    def fails(expected, *names):
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            for name in names:
                path = pathlib.Path(place, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(
                    gzip.compress(b"a\n") if name.endswith("z") else b"a\n"
                )
            with pytest.raises(UserError, match=expected) as caught:
                load(place, tmp_path / "cache")
            assert "\n" not in str(caught.value)

    others = "valid.txt", "test.txt"
    fails(r"both train-0\.txt and train/0\.txt", "train-0.txt", "train/0.txt", *others)
    fails(r"both train\.txt and train-0\.txt", "train.txt", "train-0.txt", *others)
    fails(
        r"both train-0\.txt\.gz and train-0\.txt;",
        "train-0.txt",
        "train-0.txt.gz",
        *others,
    )
    fails(r"has shards, but no test\.txt", "train-0.txt", "valid.txt")
    path = tmp_path / "all.txt.gz"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="a compressed file cannot be split 90/5/5"):
        load(path, tmp_path / "cache")


MEASURED = """
import sys
from ptb_lm.config import DataConfig
from ptb_lm.data.corpus import load_corpus
load_corpus(DataConfig(data_path=sys.argv[1], cache_dir=sys.argv[2], encode_workers=1))
# Not ru_maxrss, which begins with that of the process that started this one.
status = open("/proc/self/status").read()
print(status.partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the most memory")
@pytest.mark.parametrize("layout", ["beside", "compressed"])
def test_memory_does_not_grow_with_the_corpus(tmp_path, layout):
    """Neither with the number of shards nor with the size of one."""
    peaks = []
    for number, (count, repeats) in enumerate([(2, 1), (20, 1), (2, 20)]):
        words = [f"w{word % 999}" for word in range(200_000)]
        lines = [" ".join(words[begin : begin + 20]) for begin in range(0, 200_000, 20)]
        text = "\n".join(lines) + "\n"
        texts = {"train": [text * repeats] * count, "valid": ["w1\n"], "test": ["w2\n"]}
        folder = write_shards(tmp_path / str(number), texts, layout)
        command = python(
            MEASURED, folder, tmp_path / f"c{number}", stdout=subprocess.PIPE, text=True
        )
        peaks.append(int(command.communicate()[0]) / 1024)
    assert max(peaks) - peaks[0] < 25, peaks  # megabytes; the texts differ by 20


def test_a_task_that_no_disk_takes(tmp_path):
    worker = shard_worker.Worker()
    task = {"name": "write", "folder": str(tmp_path), "key": "none", "first": 0}
    (tmp_path / "v.json").write_text(json.dumps(["a"]))
    task |= {"vocabulary": str(tmp_path / "v.json"), "path": str(tmp_path / "ids")}
    assert "refusal" in worker.do(task)
