"""--mode=export, sample and score, as typed."""

import fcntl
import io
import json
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
import tensorflow as tf

import run_ptb
from ptb_lm.commands import sample
from ptb_lm.commands.score import Writer
from ptb_lm.config import GenerationConfig
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.inference.opening import open_text_model
from ptb_lm.inference.scored_text import ScoredText, ScoredToken
from ptb_lm.reports.layout import columns
from tests.support.models import VOCABULARY, make_run

ROOT = pathlib.Path(run_ptb.__file__).parent


@pytest.fixture
def run(exported_run):
    return exported_run


@pytest.fixture
def typed(run, capsys, monkeypatch):
    """Runs a command; returns (standard output, standard error)."""

    def command(*arguments, stdin=b"", status=0, path=run):
        stream = io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", stream)
        capsys.readouterr()
        found = run_ptb.main([f"--save_path={path}", *arguments])
        captured = capsys.readouterr()
        assert found == status, captured.err
        return captured

    return command


@pytest.fixture
def fails(typed):
    """Runs a command; returns the one line of its error."""

    def command(*arguments, **options):
        captured = typed(*arguments, status=2, **options)
        assert captured.out == ""
        assert captured.err.startswith("run_ptb.py: ")
        line = captured.err.removeprefix("run_ptb.py: ").removesuffix("\n")
        assert line.isprintable(), f"not one line: {line!r}"
        assert "Traceback" not in line
        return line

    return command


# --- sample ------------------------------------------------------------------------

SAMPLE = ["--mode=sample", "--num_tokens=30", "--seed=7"]


@pytest.mark.parametrize("place", ["", "saved_model"])
def test_sample_prints_what_generate_gives(typed, run, place):
    expected = open_text_model(run).generate(
        ["w1 w2"], num_tokens=30, temperature=0.8, top_k=15, top_p=0.9, seed=7
    )
    options = ["--prompt=w1 w2", "--temperature=0.8", "--top_k=15", "--top_p=0.9"]
    printed = typed(*SAMPLE, *options, path=run / place)
    text = expected["texts"].numpy()[0].decode()
    assert printed.out.rstrip("\n") == text.rstrip("\n")
    assert printed.err == ""


@pytest.mark.parametrize("per_call", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_pieces_do_not_change_the_text(typed, monkeypatch, per_call):
    whole = typed(*SAMPLE, "--prompt=w1").out
    monkeypatch.setattr(sample, "TOKENS_PER_CALL", per_call)
    assert typed(*SAMPLE, "--prompt=w1").out == whole


@pytest.mark.slow
def test_samples_are_numbered_by_their_seed(typed):
    texts = typed(*SAMPLE, "--prompt=w1", "--num_samples=3", "--format=json").out
    entries = [json.loads(line) for line in texts.splitlines()]
    assert [entry["seed"] for entry in entries] == [7, 8, 9]
    assert len({entry["text"] for entry in entries}) == 3
    for entry in entries:
        alone = typed(
            *SAMPLE, "--prompt=w1", f"--seed={entry['seed']}", "--format=json"
        )
        assert json.loads(alone.out) == entry
        assert len(entry["tokens"]) == 30
    printed = typed(*SAMPLE, "--prompt=w1", "--num_samples=3").out
    expected = "\n".join(e["text"].removesuffix("\n") + "\n" for e in entries)
    assert printed == expected


def test_a_prompt_a_line(typed):
    printed = typed(*SAMPLE, "--format=json", stdin=b"w1 w2\r\n\nw3")
    prompts = [json.loads(line)["prompt"] for line in printed.out.splitlines()]
    assert prompts == ["w1 w2", "", "w3"]


@pytest.mark.slow
def test_no_prompt_at_all_starts_a_sentence(typed):
    assert typed(*SAMPLE, stdin=b"").out == typed(*SAMPLE, "--prompt=").out != ""


@pytest.mark.slow
def test_an_unknown_word_is_said_once(typed):
    printed = typed(*SAMPLE, stdin=b"w1 cat dog cat\ncat w2 cow\n")
    assert printed.out.startswith("w1 <unk> <unk> <unk>")
    assert printed.err.splitlines() == [
        "run_ptb.py: not in the vocabulary, read as <unk>: cat, dog",
        "run_ptb.py: not in the vocabulary, read as <unk>: cow",
    ]
    for unknown in ("unk", "draw", "skip", "error"):
        drawn = typed(*SAMPLE, f"--unknown={unknown}", "--num_tokens=300").out
        assert ("<unk>" in drawn) is (unknown == "draw")


@pytest.mark.parametrize("unknown", ["unk", "draw", "skip"])
def test_what_a_vocabulary_without_unk_lacks_is_left_out(typed, tmp_path, unknown):
    folder = make_run(tmp_path / "run", Vocabulary(["<eos>", "a", "b"]))
    options = [*SAMPLE, f"--unknown={unknown}"]
    printed = typed(*options, "--prompt=a cat b dog", path=folder.path)
    assert printed.out == typed(*SAMPLE, "--prompt=a b", path=folder.path).out
    assert printed.err == "run_ptb.py: not in the vocabulary, left out: cat, dog\n"


def test_unknown_words_may_be_left_out(typed):
    printed = typed(*SAMPLE, "--unknown=skip", "--prompt=w1 cat <unk>")
    assert printed.out == typed(*SAMPLE, "--prompt=w1 <unk>").out
    assert printed.err == "run_ptb.py: not in the vocabulary, left out: cat\n"


def read_until(terminal, end, seconds=60):
    """What is shown until it ends so, or until nobody is left to write."""
    shown = b""
    deadline = time.monotonic() + seconds
    while not (end and shown.endswith(end)):
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert ready, f"nothing more after {shown!r}"
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # what Linux says when the other end is closed
            break
        shown += piece
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_a_terminal(run):
    """Prompts are asked for; lines end between words; Ctrl-D ends."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    process = subprocess.Popen(
        [sys.executable, ROOT / "run_ptb.py", f"--save_path={run}", *SAMPLE],
        stdin=child,
        stdout=child,
        stderr=child,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
    )
    os.close(child)
    try:
        assert "Traceback" not in read_until(parent, b"> ")
        model = open_text_model(run)
        for seed, prompt in ((7, "w1 w2"), (8, "w3")):
            os.write(parent, f"{prompt}\n".encode())
            shown = read_until(parent, b"> ")
            (text,) = model.generate(
                [prompt], num_tokens=30, temperature=0.8, top_k=40, seed=seed
            )["texts"].numpy()
            lines = shown.removesuffix("> ").splitlines()[1:]  # after what was typed
            assert max(map(len, lines)) <= 29
            assert " ".join(lines).split() == text.decode().split()
            assert len(lines) > text.count(b"\n") + 2
        os.write(parent, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(parent)


@pytest.mark.slow
def test_a_reader_that_goes_away(run):
    command = f'"{sys.executable}" "{ROOT}/run_ptb.py" --save_path="{run}"'
    done = subprocess.run(
        ["bash", "-c", f"{command} {' '.join(SAMPLE)} --num_tokens=20000 | head -c 5"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert len(done.stdout) == 5
    assert done.stderr == ""


# --- score -------------------------------------------------------------------------


def perplexity_of(text):
    return float(re.search(r"perplexity ([\d.]+)", text)[1])


@pytest.mark.slow
@pytest.mark.parametrize("text", ["w1 w2 w3\nw4 nowhere", "w1 w2\n\n", "w5\r\nw6\r\n"])
def test_score_is_what_evaluate_gives(typed, tmp_path, run, text):
    file = tmp_path / "text.txt"
    file.write_bytes(text.encode())
    evaluated = typed("--mode=evaluate", f"--text_file={file}").out
    for options in ({"stdin": text.encode()}, {"path": run / "saved_model"}):
        scored = typed("--mode=score", f"--text_file={file}", **options).out
        assert perplexity_of(scored) == perplexity_of(evaluated)
    piped = typed("--mode=score", stdin=text.encode()).out
    assert perplexity_of(piped) == perplexity_of(evaluated)


def test_table(typed, run):
    lines = typed("--mode=score", "--text=w1 w2").out.splitlines()
    assert lines[0].split() == ["token", "probability", "nats"]
    assert lines[1].split() == ["w1", "-", "-"]
    scored = open_text_model(run).score(["w1 w2"])
    for line, name, score in zip(
        lines[2:4],
        ["w2", "<eos>"],
        scored["log_probabilities"].numpy()[0, 1:],
        strict=True,
    ):
        token, probability, nats = line.split()
        assert token == name
        assert float(probability) == pytest.approx(np.exp(score), rel=1e-2)
        assert float(nats) == pytest.approx(-score, abs=1e-4)
    assert "2 tokens counted" in lines[4]


def test_the_table_of_odd_tokens(capsys):
    """Each on a line of its own, and a long one makes the others no wider."""
    tokens = ["\n", "日本", "x" * 500, "\x1b[31m"]
    rows = [
        ScoredToken(token, token, nats, False, 0)
        for token, nats in zip(tokens, [None, 1.0, 2.0, 3.0], strict=True)
    ]
    Writer(GenerationConfig(), TokenRules("word")).write(ScoredText(rows), 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(map(str.isprintable, lines))
    assert lines[1].startswith("'\\n' ") and lines[4].startswith("'\\x1b[31m' ")
    assert [columns(line) for line in lines[:3]] == [63] * 3
    assert lines[4].split()[1:] == ["0.0498", "3.0000"]


def test_score_each_line_as_json(typed, run):
    options = ["--mode=score", "--each_line", "--format=json"]
    printed = typed(*options, stdin=b"w1 w2\n\nw3").out
    first, second = map(json.loads, printed.splitlines())
    assert first["tokens"] == ["w1", "w2", "<eos>"]
    assert second["counted_tokens"] == 2
    scored = open_text_model(run).score(["w1 w2", "w3"], context="\n")
    for entry, perplexity in zip(
        (first, second), scored["perplexities"].numpy(), strict=True
    ):
        assert entry["perplexity"] == pytest.approx(perplexity, rel=1e-6)
        assert entry["total_nats"] == pytest.approx(sum(entry["nats"]))


def test_score_says_how_much_is_unknown(typed, tmp_path):
    text = "--text=w1 cat w2 <unk>"
    assert "; 40 % of the text is <unk>)" in typed("--mode=score", text).out
    entry = json.loads(typed("--mode=score", text, "--format=json").out)
    assert entry["unknown_share"] == 0.4 and entry["left_out_tokens"] == 0
    options = ["--mode=score", "--unknown=skip"]
    assert "; 1 unknown token left out)" in typed(*options, text).out
    entry = json.loads(typed(*options, text, "--format=json").out)
    assert entry["unknown_share"] == 0.4 and entry["left_out_tokens"] == 1
    assert entry["tokens"] == ["w1", "w2", "<unk>", "<eos>"]
    folder = make_run(tmp_path / "run", Vocabulary(["<eos>", "a", "b"]))
    printed = typed("--mode=score", "--text=a b", path=folder.path)
    assert "2 tokens counted)" in printed.out and printed.err == ""


def test_nothing_is_left_of_a_text(typed, tmp_path):
    """Of a line among others, too: the next one is scored."""
    folder = make_run(tmp_path / "run", Vocabulary([*"\nab"]), token_type="char")
    options = ["--mode=score", "--text=xyz"]
    assert "no perplexity" in typed(*options, path=folder.path).out
    options = ["--mode=score", "--each_line", "--format=json"]
    printed = typed(*options, stdin=b"xyz\nab\n", path=folder.path).out
    first, second = map(json.loads, printed.splitlines())
    assert first["tokens"] == ["\n"] and first["unknown_share"] == 0.75
    assert second["tokens"] == ["a", "b", "\n"] and second["unknown_share"] == 0
    said = typed("--mode=score", "--text=a z\u2003b", path=folder.path).err
    assert said == "run_ptb.py: not in the vocabulary, left out: ' ', z, '\\u2003'\n"


def test_standard_input_as_a_file(typed, tmp_path):
    """In score and evaluate, whose results are the same."""
    printed = typed("--mode=score", "--text_file=-", stdin=b"w1 w2\nw3")
    evaluated = typed("--mode=evaluate", "--text_file=-", stdin=b"w1 w2\nw3").out
    assert perplexity_of(printed.out) == perplexity_of(evaluated)
    assert evaluated.startswith("standard input: perplexity ")


def test_texts_of_little(typed):
    scored = typed("--mode=score", "--text=cat cow", "--format=json")
    entry = json.loads(scored.out)
    assert entry["tokens"] == ["<unk>", "<unk>", "<eos>"]
    assert entry["probabilities"][0] is None and entry["counted_tokens"] == 2
    assert scored.err.count("\n") == 1


@pytest.mark.slow
def test_a_hundred_thousand_words(typed):
    text = b"w1 w2 w3 w4\n" * 20_000
    entry = json.loads(typed("--mode=score", "--format=json", stdin=text).out)
    assert entry["counted_tokens"] == 99_999
    prompt = text.replace(b"\n", b" ")
    printed = typed(*SAMPLE, "--format=json", stdin=prompt)
    assert len(json.loads(printed.out)["tokens"]) == 30


# --- export ------------------------------------------------------------------------


@pytest.mark.slow
def test_export(typed, tmp_path):
    folder = make_run(tmp_path / "run")
    printed = typed("--mode=export", "--weights=last", path=folder.path)
    assert str(folder.path / "saved_model") in printed.out
    assert printed.err == ""
    loaded = tf.saved_model.load(str(folder.path / "saved_model"))
    assert json.loads(loaded.metadata()["json"].numpy())["weights"] == "last"
    assert (folder.path / "model.keras").is_file()


@pytest.mark.slow
def test_training_ends_with_an_export(tmp_path):
    """Of the best weights, and without a word from TensorFlow."""
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("the cat <unk> sat\n" * 40)
    path = tmp_path / "run"
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "run_ptb.py", "--model=test"),
            *(f"--data_path={tmp_path}", f"--save_path={path}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stderr == ""
    results = json.loads((path / "results.json").read_text())
    loaded = tf.saved_model.load(str(path / "saved_model"))
    scored = loaded.score([(tmp_path / "test.txt").read_text()])
    expected = results["best_weights"]["test_perplexity"]
    assert scored["perplexities"].numpy()[0] == pytest.approx(expected, abs=1e-4)
    metadata = json.loads(loaded.metadata()["json"].numpy())
    assert metadata["perplexities"] == results["best_weights"]


# --- what goes wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        "--temperature=-1",
        "--temperature=nan",
        "--top_p=0",
        "--top_p=1.1",
        "--top_k=-2",
        "--num_tokens=0",
        "--num_samples=0",
        "--format=xml",
        "--prompt=a\tb\x00",
        "--prompt=\udcff",
        "--weights=worst",
    ],
)
def test_options_that_are_not_allowed(fails, option):
    name = option.partition("=")[0]
    assert fails("--mode=sample", option).startswith(name)


@pytest.mark.parametrize(
    "options, temperature, likeliest",
    [
        ([], 0.8, 40),
        (["--temperature=1"], 1.0, 0),
        (["--temperature=0.99"], 0.99, 40),
        (["--top_k=0"], 0.8, 0),
        (["--temperature=1.5", "--top_k=3"], 1.5, 3),
    ],
)
def test_how_tokens_are_drawn(options, temperature, likeliest):
    """By default as in the example of README; one option gives the plain model."""
    generation = run_ptb.parse(["--mode=sample", *options]).generation
    assert generation.temperature == temperature
    assert generation.num_likeliest == likeliest


@pytest.mark.parametrize("text", ["--text=", "--text=  "])
def test_empty_text(fails, text):
    assert fails("--mode=score", text) == "--text: no words to score"


def test_nothing_on_standard_input(fails):
    assert fails("--mode=score", stdin=b"\n \n") == "standard input: no words to score"


@pytest.mark.parametrize("mode", ["sample", "score"])
def test_invalid_utf8(typed, mode):
    captured = typed(f"--mode={mode}", stdin=b"w1\nw\xff2\n", status=2)
    assert captured.err == (
        "run_ptb.py: standard input, line 2: not UTF-8 text (byte 0xff);"
        " convert it to UTF-8\n"
    )


@pytest.mark.parametrize("mode", ["sample", "score", "export"])
def test_folders_without_a_model(fails, tmp_path, mode):
    assert "no such folder" in fails(f"--mode={mode}", path=tmp_path / "nowhere") or (
        mode == "export"
    )
    assert "no flags.txt" in fails(f"--mode={mode}", path=tmp_path)
    if mode != "export":
        (tmp_path / "saved_model.pb").write_bytes(b"not a model")
        assert "cannot be loaded" in fails(f"--mode={mode}", path=tmp_path)


def test_a_run_without_a_checkpoint(fails, tmp_path):
    folder = make_run(tmp_path / "run")
    for path in (folder.path / "checkpoints").iterdir():
        path.unlink()
    assert "no 'best' checkpoint yet" in fails("--mode=sample", path=folder.path)


@pytest.mark.parametrize("mode", ["sample", "export"])
def test_a_vocabulary_of_another_model(fails, tmp_path, mode):
    folder = make_run(tmp_path / "run")
    Vocabulary([*VOCABULARY.tokens, "more"]).save(folder.path / "vocabulary.json")
    line = fails(f"--mode={mode}", path=folder.path)
    assert "does not fit" in line and str(folder.path) in line


@pytest.mark.parametrize("options", [["--mode=score"], SAMPLE])
def test_unknown_words_may_be_an_error(fails, options):
    options = [*options, "--unknown=error"]
    line = fails(*options, stdin=b"w1 cat <unk> dog cat\n")
    assert line == "not in the model's vocabulary: cat, dog"
