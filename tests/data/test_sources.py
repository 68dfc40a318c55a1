"""Where the texts of a --data_path are found, and what is said where they are not."""

import os
import pathlib

import pytest

from ptb_lm.data import download
from ptb_lm.data.sources import absolute_data_path, check_data_path
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.errors import UserError
from tests.support.corpora import (
    SPLITS,
    TEXTS,
    assert_equals_the_tutorial,
    assert_same,
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
    with pytest.raises(UserError, match=rf"story.txt: {count} lines?, too few"):
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


def lines_of(count, word="line"):
    return "".join(f"<unk> {word} {number}\n" for number in range(count))


SEVERAL = {"b.txt": lines_of(30), "a.txt": lines_of(10, "é")[:-1], "c.text": ""}


@pytest.mark.parametrize("token_type", ["word", "char"])
@pytest.mark.parametrize(
    "typed, order",
    [
        ("b.txt,a.txt", ["b.txt", "a.txt"]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("c.text, b.txt,*.t*,b.txt", ["b.txt", "a.txt"]),
        ("**/?.tx[st]", ["a.txt", "b.txt"]),
    ],
)
def test_several_files_are_one_text(tmp_path, monkeypatch, typed, order, token_type):
    """Split as if they were one file, in which every line has an end."""
    for name, text in SEVERAL.items():
        (tmp_path / name).write_text(text)
    whole = tmp_path / "whole" / "text"
    whole.parent.mkdir()
    whole.write_text("".join(SEVERAL[name].rstrip("\n") + "\n" for name in order))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # read, and found in the cache
        assert_same(
            load(typed, token_type=token_type), load(whole, token_type=token_type)
        )
    (tmp_path / "a.txt").write_text(lines_of(20, "é"))  # which the cache does not have
    assert len(load(typed).splits["train"]) > len(load(whole).splits["train"])


def test_an_error_in_one_of_several_files_names_it(tmp_path):
    (tmp_path / "a.txt").write_text("a b\n" * 30)
    (tmp_path / "b.txt").write_text("a b\n" * 9 + "zebra\n")
    with pytest.raises(UserError, match=r"b.txt, line 10: the word 'zebra'"):
        load(tmp_path / "*.txt", min_count=1)
    (tmp_path / "b.txt").write_bytes(b"a b\n" * 8 + b"\xff\n")
    with pytest.raises(UserError, match=r"b.txt, line 9: not UTF-8"):
        load(tmp_path / "*.txt")


def test_a_name_with_a_comma_or_a_star_is_a_name(tmp_path):
    for name in ("one, two.txt", "star*.txt"):
        (tmp_path / name).write_text(lines_of(20))
    (tmp_path / "star-2.txt").write_text(lines_of(90))
    for name in ("one, two.txt", "star*.txt"):
        corpus = load(tmp_path / name)
        assert words_of(corpus)["train"].count("<eos>") == 18
        assert corpus.name == name.removesuffix(".txt")


@pytest.mark.parametrize(
    "typed, said",
    [
        ("a.txt,none.txt", "--data_path={}/none.txt: no such file or folder"),
        ("none*", "--data_path={}/none*: no file matches"),
        ("sub*", "--data_path={}/sub*: no file matches"),
        ("a.txt,{}/sub", "--data_path={}/sub: no regular file"),
        ("a.txt,", "--data_path=.: no regular file"),
        ("e*.txt", "{}/e*.txt: no words in the files"),
        ("e1.txt,a.txt", "{}/e1.txt,{}/a.txt: 6 lines, too few to split"),
    ],
)
def test_several_files_that_are_no_corpus(tmp_path, typed, said):
    (tmp_path / "sub").mkdir()
    for name in ("e1.txt", "e2.txt"):
        (tmp_path / name).write_text("\n\n")
    (tmp_path / "a.txt").write_text(lines_of(4))
    parts = [part.strip() for part in typed.replace("{}", str(tmp_path)).split(",")]
    paths = [part and str(tmp_path / part) for part in parts]
    with pytest.raises(UserError) as caught:
        load(",".join(paths))
    assert said.replace("{}", str(tmp_path)) in str(caught.value)


def test_several_paths_hold_from_any_folder(tmp_path, monkeypatch):
    """As flags.txt has them."""
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "sub/b.txt", "one, two.txt"):
        (tmp_path / name).write_text(lines_of(20))
    monkeypatch.chdir(tmp_path)
    path = absolute_data_path("a.txt, sub/*.txt")
    assert path == f"{tmp_path}/a.txt,{tmp_path}/sub/*.txt"
    assert absolute_data_path("one, two.txt") == f"{tmp_path}/one, two.txt"
    assert absolute_data_path(path) == path
    whole = load("a.txt,sub/*.txt")
    monkeypatch.chdir(tmp_path / "sub")
    assert_same(load(path), whole)
    check_data_path(path)
    (tmp_path / "sub" / "b.txt").unlink()
    with pytest.raises(UserError, match="no file matches"):
        check_data_path(path)


def test_a_folder_of_other_files_says_how_to_read_them(tmp_path):
    (tmp_path / "story.txt").write_text(lines_of(30))
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    pattern = f"{tmp_path}/*.txt"
    assert f"--data_path='{pattern}'" in str(caught.value)
    assert words_of(load(pattern))["train"].count("<eos>") == 27


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
