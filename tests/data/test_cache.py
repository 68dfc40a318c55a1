"""Encoded corpora on disk: read again, written anew, done without."""

import concurrent.futures
import json
import os
import threading
import time

import numpy as np
import pytest

from ptb_lm.config import DataConfig
from ptb_lm.data import cache
from ptb_lm.data.corpus import load_corpus
from tests.support.corpora import SPLITS, TEXTS, load, words_of, write_folder


def test_ids_are_read_from_the_cache_the_second_time(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, TEXTS)
    first = load(folder)
    assert isinstance(first.splits["train"], np.memmap)

    def encode(*unused):
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "encode_blocks", encode)
        second = load(folder)
        assert second.vocabulary == first.vocabulary
        for split in SPLITS:
            np.testing.assert_array_equal(second.splits[split], first.splits[split])
        with pytest.raises(AssertionError, match="encoded again"):
            load(folder, max_vocab_size=4)
    # A file that has changed is encoded again.
    write_folder(tmp_path, TEXTS | {"train": TEXTS["train"] + "a new line\n"})
    assert len(load(folder).splits["train"]) == len(first.splits["train"]) + 4


@pytest.mark.parametrize("name", ["index.json", "valid.ids"])
def test_a_damaged_cache_is_replaced(tmp_path, name):
    folder = write_folder(tmp_path / "corpus", TEXTS)
    config = DataConfig(data_path=str(folder), cache_dir=str(tmp_path / "cache"))
    first = load_corpus(config)
    (path,) = (tmp_path / "cache").rglob(name)
    path.write_bytes(path.read_bytes()[:-2])
    assert words_of(load_corpus(config)) == words_of(first)
    assert len(list((tmp_path / "cache" / "encoded").iterdir())) == 1


def test_without_a_cache_to_write_to(tmp_path):
    (tmp_path / "file").write_text("")
    folder = write_folder(tmp_path, TEXTS)
    config = DataConfig(data_path=str(folder), cache_dir=str(tmp_path / "file/cache"))
    assert words_of(load_corpus(config)) == words_of(load(folder))


def test_without_a_home_folder_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PTB_LM_CACHE", "~no-such-user/cache")
    assert words_of(load(write_folder(tmp_path, TEXTS)))["train"]


def test_an_entry_of_another_format_is_written_anew(tmp_path):
    folder = write_folder(tmp_path / "corpus", TEXTS)
    options = {"cache_dir": str(tmp_path / "cache")}
    first = load(folder, **options)
    (path,) = (tmp_path / "cache").rglob("index.json")
    index = json.loads(path.read_text())
    assert index["format"] == cache.FORMAT
    # As if the ids of an older version had another meaning.
    tokens = index["tokens"][::-1]
    path.write_text(json.dumps(index | {"format": cache.FORMAT - 1, "tokens": tokens}))
    assert words_of(load(folder, **options)) == words_of(first)
    assert json.loads(path.read_text()) == index


def test_what_a_killed_run_left_is_removed_after_a_day(tmp_path):
    folder = write_folder(tmp_path / "corpus", TEXTS)
    young, old = (tmp_path / "encoded" / f".new-{age}" for age in ("young", "old"))
    for path in (young, old):
        path.mkdir(parents=True)
        (path / "train.ids").touch()
    os.utime(old, (0, time.time() - 86_500))
    load(folder, cache_dir=str(tmp_path))
    assert young.exists() and not old.exists()


def test_runs_may_write_the_same_entry_at_once(tmp_path):
    folder = write_folder(tmp_path / "corpus", TEXTS)
    runs, begin = 8, threading.Barrier(8)

    def run(_):
        begin.wait()
        return words_of(load(folder, cache_dir=str(tmp_path / "cache")))

    with concurrent.futures.ThreadPoolExecutor(runs) as pool:
        found = list(pool.map(run, range(runs)))
    assert found == [words_of(load(folder))] * runs
    assert len(list((tmp_path / "cache" / "encoded").iterdir())) == 1
