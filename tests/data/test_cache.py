"""Encoded corpora on disk: read again, written anew, done without."""

import concurrent.futures
import json
import os
import threading
import time

import numpy as np
import pytest

from ptb_lm.config import DataConfig
from ptb_lm.data import cache, encoding
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.sources import find_sources
from ptb_lm.errors import UserError
from tests.support.corpora import (
    SPLITS,
    TEXTS,
    assert_same,
    load,
    words_of,
    write_folder,
)


def test_ids_are_read_from_the_cache_the_second_time(tmp_path, monkeypatch):
    monkeypatch.setenv("PTB_LM_CACHE", str(tmp_path / "cache"))
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


def test_a_text_of_the_same_size_and_time_is_another(tmp_path):
    """As `cp -p`, tar or a coarse clock may leave it."""
    folder = write_folder(tmp_path, TEXTS)
    words_before = words_of(load(folder))["valid"]
    path = folder / "ptb.valid.txt"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(TEXTS["valid"].replace("dog", "cat"))
    os.utime(path, ns=times)
    words = words_of(load(folder))["valid"]
    assert words == [{"dog": "cat"}.get(word, word) for word in words_before]


def test_the_same_text_in_another_place_is_not_encoded_again(tmp_path, monkeypatch):
    first = load(write_folder(tmp_path / "one", TEXTS))
    monkeypatch.setattr(cache, "encode_blocks", None)
    assert_same(load(write_folder(tmp_path / "two", TEXTS)), first)


def test_the_same_characters_read_in_another_way_are_another_text(tmp_path):
    """Those of ptb.char.* are spelled with spaces, those of other files are not."""
    texts = dict.fromkeys(SPLITS, "a _ b \n" * 30)
    spaced = load(
        write_folder(tmp_path / "spaced", texts, "ptb.char."), token_type="char"
    )
    plain = load(write_folder(tmp_path / "plain", texts, ""), token_type="char")
    assert words_of(plain)["valid"][:4] == ["a", " ", "_", " "]
    assert words_of(spaced)["valid"][:4] == ["a", " ", "b", "\n"]


@pytest.mark.parametrize("with_cache", [True, False])
@pytest.mark.parametrize("word", ["dog", "zebra"])
def test_a_text_that_changes_while_it_is_read(tmp_path, monkeypatch, word, with_cache):
    """Between the vocabulary and the ids, which may then fail or not."""
    folder = write_folder(tmp_path / "corpus", {s: "the dog\n" * 9 for s in SPLITS})
    place = tmp_path / "cache"
    if not with_cache:
        place.write_text("in the way")
    build = encoding.build_vocabulary

    def change(*arguments):
        vocabulary = build(*arguments)
        (folder / "ptb.valid.txt").write_text(f"the {word}\n")
        return vocabulary

    for module in (cache, encoding):
        monkeypatch.setattr(module, "build_vocabulary", change)
    with pytest.raises(UserError, match=r"valid\.txt: the file changed while it was"):
        load(folder, cache_dir=str(place))
    assert not list(place.glob("encoded/*"))


@pytest.mark.parametrize("change", ["longer", "shorter", "another line first"])
def test_one_file_that_changes_after_it_was_split(tmp_path, change):
    """Its parts do not begin or end at line ends any more."""
    path = tmp_path / "story.txt"
    text = "".join(f"{number} is a number\n" for number in range(100, 200))
    path.write_text(text)
    config = DataConfig(data_path=str(path))
    sources = find_sources(config)
    path.write_text(
        {
            "longer": text.replace("100 is", "100 really is"),
            "shorter": text[: len(text) // 2],
            "another line first": f"first\n{text}",
        }[change]
    )
    with pytest.raises(UserError, match=r"story\.txt: the file changed while"):
        cache.encode_once(sources, config)


def cut(content):
    return content[:-2]


def flip(content):
    """One bit, of the first word that the index has, or of the second id."""
    at = content.find(b"cat") + 1 or 4
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("name", ["index.json", "valid.ids"])
def test_a_damaged_cache_is_replaced(tmp_path, name, damage):
    folder = write_folder(tmp_path / "corpus", TEXTS)
    config = DataConfig(data_path=str(folder), cache_dir=str(tmp_path / "cache"))
    first = load_corpus(config)
    (path,) = (tmp_path / "cache").rglob(name)
    whole = path.read_bytes()
    path.unlink()  # not into the file that `first` is a view of
    path.write_bytes(damage(whole))
    assert words_of(load_corpus(config)) == words_of(first)
    (path,) = (tmp_path / "cache").rglob(name)
    assert path.read_bytes() == whole
    assert len(list((tmp_path / "cache" / "encoded").iterdir())) == 1


@pytest.mark.parametrize("name", ["index.json", "valid.ids"])
def test_a_pipe_in_the_cache_does_not_hang(tmp_path, name):
    folder = write_folder(tmp_path / "corpus", TEXTS)
    config = DataConfig(data_path=str(folder), cache_dir=str(tmp_path / "cache"))
    first = load_corpus(config)
    (path,) = (tmp_path / "cache").rglob(name)
    path.unlink()
    os.mkfifo(path)
    assert words_of(load_corpus(config)) == words_of(first)
    assert path.is_file()


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


@pytest.mark.parametrize("other", ["whole", "damaged"])
def test_another_run_was_first(tmp_path, monkeypatch, other):
    """What is there by now is used if it is whole; no run needs the memory for all."""
    folder, place = write_folder(tmp_path / "corpus", TEXTS), tmp_path / "cache"
    write = cache._write_files

    def write_late(*arguments):
        write(*arguments)
        monkeypatch.setattr(cache, "_write_files", write)
        load(folder, cache_dir=str(place))
        if other == "damaged":
            (path,) = place.rglob("encoded/[!.]*/index.json")
            path.write_text("{}")

    monkeypatch.setattr(cache, "_write_files", write_late)
    monkeypatch.setattr(cache, "encode_sources", None)
    found = load(folder, cache_dir=str(place))
    assert isinstance(found.splits["train"], np.memmap)
    assert_same(found, load(folder, cache_dir=str(place)))
    assert len(list((place / "encoded").iterdir())) == 1
