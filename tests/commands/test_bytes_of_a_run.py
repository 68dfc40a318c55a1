"""Commands on a run whose tokens are bytes."""

import io
import json
import math
import sys

import numpy as np
import pytest

import ptb_lm
from ptb_lm.data.byte_tokens import BYTE_NAMES, names_of
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.inference.opening import open_text_model
from tests.support.command_line import printed, table
from tests.support.exports import export
from tests.support.models import make_run

pytestmark = pytest.mark.slow
ANY = b"\xef\xbb\xbfa\r\n\xff\0\n\xe4\xbd"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run of bytes."""
    place = tmp_path_factory.mktemp("runs") / "bytes"
    return make_run(place, Vocabulary(BYTE_NAMES), token_type="byte").path


@pytest.fixture
def any_file(tmp_path):
    """A file that is not UTF-8."""
    (tmp_path / "any").write_bytes(ANY)
    return tmp_path / "any"


def nats_of(path, data):
    """Of every byte but the first, by the export's function for ids."""
    model = open_text_model(path)
    state = model.initial_state(1)["state"]
    logs = model.step(np.array([list(data)], np.int32), state)["log_probabilities"]
    return [-float(row[byte]) for row, byte in zip(logs[0], data[1:], strict=False)]


def test_any_file_is_scored_byte_by_byte(path, any_file, capsys):
    options = [f"--save_path={path}", f"--text_file={any_file}", "--format=json"]
    nats = nats_of(path, ANY)
    bits = math.fsum(nats) / len(nats) / math.log(2)
    for mode in ("score", "evaluate"):
        found = json.loads(printed(capsys, f"--mode={mode}", *options))
        assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-5)
        assert found["total_nats"] == pytest.approx(math.fsum(nats), rel=1e-5)
        assert not found["left_out_tokens"]
    found = json.loads(printed(capsys, "--mode=score", *options))
    assert found["tokens"] == names_of(ANY)
    text = printed(capsys, "--mode=evaluate", *options[:2])
    assert f"{bits:.5f} bits a byte" in text and f"{len(nats)} bytes" in text
    assert "bits a byte" in printed(capsys, "--mode=score", *options[:2])


def test_lines_of_any_file(path, any_file, capsys):
    options = [f"--save_path={path}", f"--text_file={any_file}", "--format=tsv"]
    rows = table(printed(capsys, "--mode=score", "--each_line", *options))
    read = names_of(ANY + b"\n")
    assert len(rows) == len(read)
    words = table(printed(capsys, "--mode=score", "--each_line", "--by_word", *options))
    assert len(words) == 3 and words[2]["word"] == "\ufffd"
    found = sum(float(row["surprisal_nats"]) for row in words)
    assert found == pytest.approx(sum(float(row["surprisal_nats"]) for row in rows))


def test_an_export_alone_reads_any_file(path, any_file, capsys):
    export(path, "saved_model")
    options = [f"--text_file={any_file}", "--format=json", "--mode=score"]
    live = json.loads(printed(capsys, f"--save_path={path}", *options))
    alone = json.loads(printed(capsys, f"--save_path={path}/saved_model", *options))
    assert alone["tokens"] == live["tokens"]
    assert alone["total_nats"] == pytest.approx(live["total_nats"], rel=1e-5)


def test_samples_are_utf8(path, capsys):
    """Of a model that nobody trained, so that few bytes make characters."""
    options = ["--mode=sample", f"--save_path={path}", "--num_tokens=300"]
    for more in ([], ["--num_samples=3"], ["--num_samples=2", "--format=json"]):
        text = printed(capsys, *options, "--prompt=\u4f60\u597d", *more)
        text.encode()
        assert "\u4f60\u597d" in text and "\ufffd" in text


def test_a_terminal_gets_no_control_characters(path, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    from ptb_lm.commands.sample import Writer
    from ptb_lm.data.token_rules import TokenRules

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    writer = Writer(TokenRules("byte"))
    for name in names_of(b"ab\x1b[31m \x07\xc2\x9b c\n\xe4"):
        writer.write([name])
    writer.end()
    assert screen.getvalue() == "ab\ufffd[31m \ufffd\ufffd c\n\ufffd\n"


def test_python_reads_bytes(path):
    run = ptb_lm.load(path)
    (scored,) = run.score(["\u4f60a b"], by_word=True)
    assert [row.written for row in scored.rows] == ["\u4f60a", "b"]
    (text,) = run.generate(["\u4f60"], num_tokens=20)
    assert text.startswith("\u4f60")


def test_json_of_an_onnx_export_says_that_ids_are_bytes(path):
    pytest.importorskip("onnx")
    export(path, "onnx")
    facts = json.loads((path / "onnx" / "model.json").read_text())
    assert facts["format"] == 2 and facts["token_type"] == "byte"
    assert facts["tokens"] == list(BYTE_NAMES)
    assert facts["line_end_id"] == 10 and facts["unknown_id"] is None
