"""What the user gets wrong: one line, exit status 2, nothing written."""

import os
import pathlib
import subprocess
import sys
import threading

import pytest
from absl import flags

import run_ptb
from ptb_lm.commands.flagfiles import Flagfiles
from ptb_lm.config import option_groups
from tests.support.files import SPLITS, TEXT, snapshot, write_corpus

ROOT = pathlib.Path(run_ptb.__file__).parent
PRESETS = sorted(path.stem for path in (ROOT / "flags").glob("*.flags"))
# Options by the smallest value that is allowed.
SIZES_FROM_ONE = [
    "batch_size",
    "num_steps",
    "hidden_size",
    "num_layers",
    "max_max_epoch",
    "log_every_steps",
    "keep_checkpoints",
    "num_tokens",
    "num_samples",
    "num_neighbours",
    "patience",
    "dynamic_steps",
    "num_pairs",
    "softmax_reduction",
    "softmax_samples",
    "join_timeout",
]
SIZES_FROM_ZERO = [
    "mogrifier_rounds",
    "mogrifier_rank",
    "embedding_size",
    "max_vocab_size",
    "min_count",
    "max_tokens",
    "encode_workers",
    "max_epoch",
    "early_stopping",
    "nonmonotone",
    "save_every_steps",
    "sample_tokens",
    "histograms_every_steps",
    "seed",
    "cache_size",
    "ngram_order",
]
SIZES_FROM_MINUS_ONE = ["top_k"]


@pytest.fixture
def corpus(tmp_path):
    """A corpus that is as it should be, in a folder with a blank in its name."""
    return write_corpus(tmp_path / "my corpus")


# --- --data_path --------------------------------------------------------------


def test_no_such_data_path(fails, tmp_path):
    line = fails(f"--data_path={tmp_path}/nowhere", "--model=test")
    assert line == f"--data_path={tmp_path}/nowhere: no such file or folder"


def test_empty_folder(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    line = fails(f"--data_path={tmp_path}/empty")
    assert f"{tmp_path}/empty" in line
    assert "ptb.{train,valid,test}.txt" in line
    assert "{train,valid,test}.txt" in line


def test_folder_of_other_files(fails, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text(TEXT)
    assert "{train,valid,test}.txt" in fails(f"--data_path={tmp_path}/other")


@pytest.mark.parametrize("split", SPLITS)
def test_missing_file(fails, tmp_path, split):
    folder = write_corpus(tmp_path / "corpus", **{split: None})
    assert fails(f"--data_path={folder}") == (
        f"--data_path={folder}: {split}.txt is missing"
    )


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", ["", "\n\r\n \n"], ids=["empty", "blank lines"])
def test_file_without_words(fails, tmp_path, split, content):
    folder = write_corpus(tmp_path / "corpus", **{split: content})
    line = fails(f"--data_path={folder}")
    assert f"{folder}/{split}.txt: no words" in line


@pytest.mark.parametrize("split", SPLITS)
def test_not_utf8(fails, tmp_path, split):
    folder = write_corpus(tmp_path / "corpus", **{split: b"one\ntwo\ncaf\xe9\n"})
    line = fails(f"--data_path={folder}")
    assert f"{folder}/{split}.txt, line 3: not UTF-8" in line
    assert "0xe9" in line


@pytest.mark.parametrize("split", ["valid", "test"])
def test_word_that_train_lacks(fails, tmp_path, split):
    texts = {"train": "a b\n" * 99, "valid": "a\n" * 99, "test": "b\n" * 99}
    texts[split] = "a\nb a\na zebra\n"
    folder = write_corpus(tmp_path / "corpus", **texts)
    line = fails(f"--data_path={folder}", "--min_count=1")
    assert f"{folder}/{split}.txt, line 3: the word 'zebra'" in line
    assert "<unk>" in line


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "no words"),
        (" \n\n", "no words"),
        ("some words\n" * 3, "3 lines, too few"),
        (b"\xff\xfe\n" * 40, "line 1: not UTF-8"),
    ],
)
def test_one_file(fails, tmp_path, content, said):
    path = tmp_path / "story.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = fails(f"--data_path={path}")
    assert str(path) in line
    assert said in line


@pytest.mark.parametrize(
    "path",
    [
        "/dev/null",
        "/proc/self/mem/x",
        "~no-such-user/corpus",
        pytest.param("x" * 300, id="too long"),
        pytest.param("two\nlines", id="two lines"),
        pytest.param("nul\0", id="nul"),
        pytest.param("\udcff", id="bytes that are not UTF-8"),
    ],
)
def test_odd_data_paths(fails, path):
    line = fails(f"--data_path={path}")
    assert (path if path.isprintable() else ascii(path)) in line


# --- Corpora too short for a batch --------------------------------------------


@pytest.mark.parametrize("tokens", [60 - 5, 2])
def test_too_short(fails, tmp_path, tokens):
    text = "the cat <unk> sat\n" * (tokens // 5) or "<unk>\n"
    folder = write_corpus(tmp_path / "corpus", **dict.fromkeys(SPLITS, text))
    line = fails("--model=test", f"--data_path={folder}", f"--save_path={tmp_path}/run")
    assert f"the train text has {tokens} tokens" in line
    for part in ("--batch_size=20", "--num_steps=2", "60"):
        assert part in line


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_text_without_a_token_to_predict(fails, tmp_path, split):
    folder = write_corpus(tmp_path / "corpus", **{split: "<"})
    options = ["--model=test", "--token_type=char", f"--save_path={tmp_path}/run"]
    line = fails(f"--data_path={folder}", *options)
    assert f"the {split} text has 1 tokens" in line


def test_batch_beyond_every_corpus(fails, corpus):
    line = fails(f"--data_path={corpus}", f"--batch_size={10**30}")
    assert f"--batch_size={10**30}" in line


# --- --save_path --------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "/run", "/deep/run"])
def test_file_in_the_way(fails, tmp_path, corpus, below):
    (tmp_path / "file").write_text("mine")
    path = f"{tmp_path}/file{below}"
    line = fails("--model=test", f"--data_path={corpus}", f"--save_path={path}")
    assert path in line


@pytest.mark.parametrize("path", ["/proc/run", "/proc/self/status", "/sys/run"])
def test_where_nothing_can_be_written(fails, corpus, path):
    line = fails("--model=test", f"--data_path={corpus}", f"--save_path={path}")
    assert path in line
    assert "cannot" in line


@pytest.mark.parametrize(
    "path",
    [
        "~no-such-user/run",
        pytest.param("x" * 300, id="too long"),
    ],
)
def test_odd_save_paths(fails, corpus, path):
    line = fails("--model=test", f"--data_path={corpus}", f"--save_path={path}")
    assert path in line


def test_save_path_of_two_lines(fails, corpus):
    line = fails(f"--data_path={corpus}", "--save_path=two\nlines")
    assert r"--save_path='two\nlines'" in line


@pytest.mark.parametrize("name", ["save_path", "data_path", "cache_dir"])
def test_bytes_that_are_not_utf8(fails, name):
    line = fails(f"--{name}=caf\udce9")  # as Python has the byte 0xe9
    assert line == rf"--{name}='caf\udce9': must be UTF-8 text, which it is not"


@pytest.mark.parametrize("text", ["caf\udce9", "a\nb", "\x1b[31m", "\u202egnp"])
def test_what_cannot_be_shown_is_escaped(fails, text):
    shown = ascii(text)[1:-1]
    assert fails(f"--model={text}").startswith(f"--model={shown}: unknown")
    assert fails(f"--{text}=1").startswith(f"--{shown}: unknown")
    assert fails(text).startswith(f"{text!a} is not a flag")


def test_weights_whose_sum_is_too_large(fails):
    line = fails("--mode=evaluate", "--mixture_weights=1e308,1e308")
    assert line.endswith("must be numbers separated by commas, none of them negative")


def test_presets_that_cannot_be_read(fails, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "glob", refuse)
    assert fails("--model=test").endswith("flags: cannot read: Permission denied")


def test_init_from_no_run(fails, tmp_path, corpus):
    line = fails(
        "--model=test",
        f"--data_path={corpus}",
        f"--save_path={tmp_path}/run",
        f"--init_from={tmp_path}/nowhere",
    )
    assert f"{tmp_path}/nowhere" in line


@pytest.mark.parametrize("mode", ["evaluate", "report"])
def test_mode_that_needs_a_run(fails, tmp_path, mode):
    line = fails(f"--mode={mode}", f"--save_path={tmp_path}/nowhere")
    assert f"{tmp_path}/nowhere" in line


# --- --model and --flagfile ---------------------------------------------------


@pytest.mark.parametrize(
    "name", ["huge", "../x", "../flags/small", "/etc/passwd", "", ".", "small.flags"]
)
@pytest.mark.parametrize(
    "form",
    ["--model={}", "-model={}", "--model {}"],
)
def test_unknown_model(fails, corpus, name, form):
    arguments = [part.replace("{}", name) for part in form.split()]
    line = fails(*arguments, f"--data_path={corpus}", "--max_max_epoch=1")
    assert f"--model={name}" in line
    for preset in PRESETS:
        assert preset in line


def test_missing_flagfile(fails, tmp_path):
    line = fails(f"--flagfile={tmp_path}/none.flags")
    assert f"{tmp_path}/none.flags" in line
    assert "ERROR" not in line


def test_flagfile_is_a_folder(fails, tmp_path):
    assert str(tmp_path) in fails(f"--flagfile={tmp_path}")


def test_flagfile_is_not_text(fails, tmp_path):
    path = tmp_path / "bad.flags"
    path.write_bytes(b"\xff\xfe--seed=3\n")
    assert "flagfile" in fails(f"--flagfile={path}")


@pytest.mark.parametrize("form", ["--flagfile=/dev/zero", "--flagfile /dev/zero"])
def test_flagfile_without_end(fails, form):
    line = fails(*form.split())
    assert line == "--flagfile=/dev/zero: larger than 1,048,576 bytes"


def test_flagfile_in_a_pipe(fails, tmp_path):
    """Of a pipe that is typed all is read; one that a file names may hang."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(
        target=(tmp_path / "pipe").write_text, args=("--batch_size=0\n",)
    )
    writer.start()
    assert "--batch_size=0" in fails(f"--flagfile={tmp_path}/pipe")
    writer.join()
    (tmp_path / "my.flags").write_text(f"--flagfile={tmp_path}/pipe\n")
    assert fails(f"--flagfile={tmp_path}/my.flags") == (
        f"--flagfile={tmp_path}/pipe: cannot read: no regular file"
    )


def test_flagfile_without_a_name(fails):
    assert fails("--flagfile") == "--flagfile: it needs the name of a file"


def test_flagfiles_that_name_each_other(fails, tmp_path):
    for one, other in ("ab", "ba"):
        (tmp_path / one).write_text(f"--flagfile={tmp_path}/{other}\n")
    assert fails(f"--flagfile={tmp_path}/a").endswith("/a: the file names itself")
    for level in range(30):  # 2^30 lines in all
        names = f"--flagfile={tmp_path}/{level + 1}\n" * 2
        (tmp_path / f"{level}").write_text(names)
    (tmp_path / "30").write_text("--seed=1\n")
    assert "larger than" in fails(f"--flagfile={tmp_path}/0")


def test_flagfiles_mean_what_they_mean_to_absl(tmp_path):
    (tmp_path / "inner").write_text("--batch_size=3\n\n--nois=4\n")
    (tmp_path / "outer").write_text(
        f"# --seed=1\n// --seed=2\n  \n--seed=5  \n--flagfile={tmp_path}/inner\n"
        "--prompt=a\u2028b\n"
    )
    typed = ["--seed=6", f"--flagfile={tmp_path}/outer", "--flagfile=", "--seed=7"]
    expected = flags.FlagValues().read_flags_from_files(typed)
    assert list(Flagfiles().expand(typed)) == expected
    assert expected[1:3] == ["--seed=5", "--batch_size=3"]


@pytest.mark.parametrize(
    "content, said",
    [
        ("--no_such_flag=3\n", "no_such_flag"),
        ("--batch_size=0\n", "--batch_size=0"),
        ("--model=huge\n", "--model=huge"),
        ("seed=3\n", "seed=3"),
    ],
)
def test_flagfile_of_wrong_flags(fails, tmp_path, content, said):
    path = tmp_path / "my.flags"
    path.write_text(content)
    assert said in fails(f"--flagfile={path}")


def test_an_option_that_is_gone(fails, tmp_path):
    """A flagfile of an older run may have it; nobody can type it."""
    line = fails("--allow_unknown", "--mode=sample")
    assert line.startswith("--allow_unknown: unknown; did you mean --unknown?")
    (tmp_path / "old.flags").write_text("--allow_unknown=false\n--data_path=nowhere\n")
    assert "nowhere: no such file" in fails(f"--flagfile={tmp_path}/old.flags")


# --- Values -------------------------------------------------------------------


def test_unknown_flag(fails):
    assert "no_such_flag" in fails("--no_such_flag=1")


@pytest.mark.parametrize("arguments", [["corpus"], ["--seed=2", "corpus", "--seed=3"]])
def test_positional_argument(fails, arguments):
    assert "'corpus'" in fails(*arguments)


@pytest.mark.parametrize("flag", ["--batch_size", "--data_path", "--model"])
def test_missing_value(fails, flag):
    assert flag in fails(flag)


@pytest.mark.parametrize(
    "flag",
    [
        *(f"--{name}={value}" for name in SIZES_FROM_ONE for value in (0, -1)),
        *(f"--{name}={value}" for name in SIZES_FROM_ZERO for value in (-1, -(10**30))),
        *(f"--{name}=-2" for name in SIZES_FROM_MINUS_ONE),
        *(
            f"--{name}={size}"
            for name in ("batch_size", "num_steps", "hidden_size", "num_layers", "seed")
            for size in (2**31, 10**4000)
        ),
        *(f"--keep_prob={value}" for value in ("0.0", "-0.5", "1.5", "nan", "inf")),
        *(
            f"--keep_prob_{what}={value}"
            for what in ("embedding", "recurrent")
            for value in ("0.0", "1.5", "nan")
        ),
        *(
            f"--keep_prob_{place}={value}"
            for place in ("input", "between", "output")
            for value in ("-0.5", "1.5", "nan")
        ),
        *(f"--learning_rate={value}" for value in ("0.0", "-1.0", "inf", "nan")),
        *(f"--lr_decay={value}" for value in ("0.0", "-1.0", "1.1", "-inf", "nan")),
        *(f"--max_grad_norm={value}" for value in ("0.0", "-5.0", "inf", "nan")),
        *(f"--top_p={value}" for value in ("0.0", "1e-50", "-0.1", "1.5", "nan")),
        *(f"--temperature={value}" for value in ("-1.0", "1e+40", "inf", "nan")),
        *(f"--init_scale={value}" for value in ("-0.1", "inf", "nan")),
        *(f"--forget_bias={value}" for value in ("-0.1", "inf", "nan")),
        *(f"--adam_beta1={value}" for value in ("-0.1", "1.0", "nan")),
        *(f"--adam_beta2={value}" for value in ("-0.1", "1.0", "inf")),
        *(f"--adam_epsilon={value}" for value in ("0.0", "-1.0", "inf")),
        *(f"--warmup={value}" for value in ("-0.1", "1.0", "nan")),
        *(f"--final_rate={value}" for value in ("-0.1", "1.1", "nan")),
        *(f"--{name}={value}" for name in ("ar", "tar") for value in ("-0.1", "nan")),
        *(f"--l2={value}" for value in ("-0.1", "inf", "nan")),
        *(f"--weight_decay={value}" for value in ("-0.1", "inf", "nan")),
        "--mogrifier_rounds=101",
        "--mode=play",
        "--optimizer=adamax",
        "--average=mean",
        "--average_decay=1.0",
        "--average_decay=0.0",
        "--split=dev",
        "--unknown=ignore",
        "--weights=worst",
        "--counting=none",
        "--rnn_mode=fast",
        "--dtype=float16",
        "--token_type=syllable",
        "--format=xml",
        "--cell=transformer",
        "--loss_scale=median",
        "--normalize=digits",
        *(
            f"--embedding_init={value}"
            for value in ("uniform", "normal:", "cauchy:1", "uniform:-1", "normal:inf")
        ),
        "--layer_init=0.1",
        "--softmax_init=normal:nan",
        "--softmax_bias_init=ones",
        *(f"--layer_sizes={value}" for value in ("0", "2,", "2 3", "-1", "9" * 5000)),
        *(f"--devices={value}" for value in ("0", "two", "-1", "", "1,2", "99999")),
        "--join_timeout=86401",
    ],
)
def test_value_out_of_range(fails, corpus, tmp_path, flag):
    line = fails(flag, f"--data_path={corpus}", f"--save_path={tmp_path}/run")
    assert line.startswith(f"{flag}: must be ")


def test_layer_sizes_that_are_not_as_many_as_layers(fails, corpus):
    line = fails(f"--data_path={corpus}", "--model=test", "--layer_sizes=4,5,6")
    assert line == (
        "--layer_sizes=4,5,6: the number of layers is 3 here and 1 in --num_layers"
    )


def test_option_of_another_cell(fails, corpus):
    line = fails(f"--data_path={corpus}", "--cell=gru", "--mogrifier_rank=3")
    assert line == (
        "--mogrifier_rank=3 has no effect with --cell=gru; it is for mogrifier"
    )


def test_distribution_of_a_matrix_that_a_tied_softmax_lacks(fails, corpus):
    line = fails(f"--data_path={corpus}", "--tied", "--softmax_init=normal:1")
    assert line == (
        "--softmax_init=normal:1: with --tied the softmax has no matrix of its own;"
        " use --embedding_init"
    )


@pytest.mark.parametrize(
    "name",
    [o.name for _, group in option_groups() for o in group if type(o.default) is float],
)
def test_value_beyond_float32(fails, name):
    """In which the model computes: it would be infinite or zero there."""
    assert fails(f"--{name}=1e+40").startswith(f"--{name}=1e+40: must be at most ")
    assert fails(f"--{name}=1e-40") == f"--{name}=1e-40: must be at least 1e-30"


def test_value_beyond_floating_point(fails):
    assert "--learning_rate=inf: must be" in fails("--learning_rate=1e999")


@pytest.mark.parametrize(
    "flag",
    [
        "--batch_size=abc",
        "--batch_size=2.5",
        "--batch_size=",
        "--num_steps=1e3",
        "--keep_prob=half",
        "--learning_rate=",
        "--tied=maybe",
        f"--seed={'9' * 5000}",
    ],
)
def test_value_of_the_wrong_kind(fails, flag):
    name, _, value = flag.partition("=")
    line = fails(flag)
    assert name in line
    assert value in line


def test_every_numeric_option_has_a_lowest_value():
    """No size can be forgotten in the lists above."""
    sizes = set()
    for _, options in option_groups():
        for option in options:
            rule = option.metadata
            if isinstance(option.default, bool | str):
                continue
            assert rule["minimum"] is not None or rule["above"] is not None, option.name
            if isinstance(option.default, int):
                sizes.add(option.name)
    assert sizes == {*SIZES_FROM_ONE, *SIZES_FROM_ZERO, *SIZES_FROM_MINUS_ONE}


@pytest.mark.parametrize(
    "steps", ["7", "7,", "0,5", "9,8", "a,b", "1,2,3", "²,³", "9" * 5000]
)
def test_profile_steps(fails, corpus, tmp_path, steps):
    flags = ["--model=test", f"--data_path={corpus}", f"--save_path={tmp_path}/r"]
    line = fails(f"--profile_steps={steps}", *flags)
    assert line.startswith(f"--profile_steps={steps}: must be FIRST,LAST")


def test_sample_prompts(fails, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", **dict.fromkeys(SPLITS, "a b\n" * 500))
    line = fails(
        "--sample_prompts=a b|a zebra",
        f"--data_path={corpus}",
        f"--save_path={corpus}/r",
    )
    assert line == "--sample_prompts: not in the corpus: 'zebra'"


# --- The real program ---------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        "bad path",
        "unknown model",
        pytest.param("too short", marks=pytest.mark.slow),
        "unwritable",
    ],
)
def test_from_the_shell(tmp_path, corpus, case):
    arguments = {
        "bad path": [f"--data_path={tmp_path}/nowhere"],
        "unknown model": ["--model=huge"],
        "too short": [f"--data_path={corpus}", "--batch_size=1000"],
        "unwritable": ["--model=test", f"--data_path={corpus}"],
    }[case]
    (tmp_path / "file").touch()
    arguments.append(f"--save_path={tmp_path}/file/run")
    before = snapshot(tmp_path)
    done = subprocess.run(
        [sys.executable, ROOT / "run_ptb.py", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("run_ptb.py: ")
    assert {
        "bad path": f"{tmp_path}/nowhere",
        "unknown model": "--model=huge",
        "too short": "--batch_size=1000",
        "unwritable": f"{tmp_path}/file/run",
    }[case] in lines[0]
    assert snapshot(tmp_path) == before
