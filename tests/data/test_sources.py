"""Where the texts of a --data_path are found, and what is said where they are not."""

import os
import pathlib

import pytest

from ptb_lm.data import download
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from tests.support.corpora import (
    SPLITS,
    TEXTS,
    assert_equals_the_tutorial,
    load,
    words_of,
    write_folder,
)

RULES = TokenRules()


def test_ptb_names_win_over_plain_names(tmp_path):
    write_folder(tmp_path, {split: "other words\n" for split in SPLITS}, "")
    write_folder(tmp_path, TEXTS, "ptb.")
    assert_equals_the_tutorial(load(tmp_path), TEXTS)


def test_links_and_relative_paths(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "real.name-1.2", TEXTS)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for path in (".", "../link", folder, f"{folder}/"):
        corpus = load(path)
        assert corpus.name == "real.name-1.2"
        assert_equals_the_tutorial(corpus, TEXTS)


def test_home_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "corpus", TEXTS)
    monkeypatch.setenv("HOME", str(tmp_path))
    corpus = load("~/corpus")
    assert corpus.name == "corpus"
    assert_equals_the_tutorial(corpus, TEXTS)


def test_the_treebanks_character_files(tmp_path):
    """One folder holds both versions; each token type finds its own."""
    write_folder(tmp_path, {split: "a cat\n<unk> a\n" for split in SPLITS}, "ptb.")
    spaced = "a _ c a t \n < u n k > _ a \n"
    write_folder(tmp_path, {split: spaced for split in SPLITS}, "ptb.char.")
    characters = load(tmp_path, token_type="char")
    assert "".join(words_of(characters)["valid"]) == "a cat\n<unk> a\n"
    expected = ["a", "cat", "<eos>", "<unk>", "a", "<eos>"]
    assert words_of(load(tmp_path))["valid"] == expected


@pytest.mark.parametrize("count", [20, 100, 137, 1000])
def test_one_file_is_split_90_5_5_by_lines(tmp_path, count):
    path = tmp_path / "story.txt"
    lines = [f"<unk> line {n}" for n in range(count)]
    path.write_text("\n".join(lines) + "\n")
    corpus = load(path)
    assert corpus.name == "story"
    found = words_of(corpus)
    sizes = [found[split].count("<eos>") for split in SPLITS]
    assert sum(sizes) == count
    assert sizes == pytest.approx([0.9 * count, 0.05 * count, 0.05 * count], abs=1)
    known = set(corpus.vocabulary.tokens)
    words = RULES.split(path.read_text(), close_lines=True)
    expected = [w if w in known else "<unk>" for w in words]
    assert [word for split in SPLITS for word in found[split]] == expected
    train = "\n".join(lines[: sizes[0]])
    assert found["train"] == RULES.split(train, close_lines=True)


@pytest.mark.parametrize("count", [1, 2, 9, 10])
def test_one_file_of_too_few_lines(tmp_path, count):
    path = tmp_path / "story.txt"
    path.write_text("some words\n" * count)
    with pytest.raises(UserError, match=rf"story.txt: {count} lines are too few"):
        load(path)


@pytest.mark.parametrize("content", ["", "\n", "\r\n \n\t\n" * 40])
def test_one_file_without_words(tmp_path, content):
    path = tmp_path / "story.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"story.txt: no words"):
        load(path)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("prefix", ["ptb.", ""])
def test_missing_file_is_named(tmp_path, split, prefix):
    texts = {name: text for name, text in TEXTS.items() if name != split}
    with pytest.raises(UserError) as caught:
        load(write_folder(tmp_path, texts, prefix))
    assert f"{tmp_path}: {prefix}{split}.txt is missing" in str(caught.value)


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("words\n")
    os.mkfifo(tmp_path / "pipe")
    names = ["nowhere", "loop", "dangling", "file/below", "pipe", "x" * 300]
    for name in names:
        with pytest.raises(UserError, match=r"^--data_path=") as caught:
            load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(UserError, match=r"~no-such-user/x: no such home folder"):
        load("~no-such-user/x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_folder_without_permission(tmp_path):
    folder = write_folder(tmp_path / "closed", TEXTS)
    folder.chmod(0)
    try:
        with pytest.raises(UserError, match="no permission"):
            load(folder)
    finally:
        folder.chmod(0o700)


def test_ptb_is_downloaded_unless_it_is_here(tmp_path, monkeypatch):
    """`--data_path=ptb` asks the cache, but a folder of that name comes first."""
    cache = write_folder(tmp_path / "cache" / "ptb", TEXTS)
    asked = []

    def fetch(url, cache_dir, progress):
        asked.append((url, cache_dir))
        return cache

    monkeypatch.setattr(download, "fetch_ptb", fetch)
    monkeypatch.chdir(tmp_path)
    corpus = load("ptb", ptb_url="http://here/x.tgz", cache_dir="there")
    assert corpus.name == "ptb"
    assert_equals_the_tutorial(corpus, TEXTS)
    assert asked == [("http://here/x.tgz", pathlib.Path("there"))]
    write_folder(tmp_path / "ptb", {split: "other\n" for split in SPLITS})
    assert words_of(load("ptb"))["test"] == ["other", "<eos>"]
    assert len(asked) == 1
