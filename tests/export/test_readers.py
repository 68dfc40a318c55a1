"""The examples that read exports: they need no TensorFlow and nothing of ours."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from ptb_lm.data.byte_tokens import BYTE_NAMES
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from tests.support.corpora import ALL_RULES, HARD_PIECES, HARD_TEXTS
from tests.support.exports import example_alone, export
from tests.support.models import make_run

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
NODE = shutil.which("node")
# A folder where `npm install onnxruntime-node onnxruntime-web` was typed.
NODE_FOLDER = os.environ.get("PTB_LM_TEST_NODE", "")
TEXTS = ["w1 w2 w3\nw4 w5", "w6", "w7 nowhere w8\n", "w9 " * 300]

sys.path.insert(0, str(EXAMPLES))

import litert_keyboard  # noqa: E402
import onnx_reader  # noqa: E402


@pytest.fixture(scope="module")
def exports(exported_run, tmp_path_factory):
    """A copy of the exported run, with both formats too."""
    run = tmp_path_factory.mktemp("readers") / "run"
    shutil.copytree(exported_run, run)
    for name in ("onnx", "litert"):
        export(run, name)
    return run


# What model.json says of the tokens of a model of bytes.
FACTS_OF_BYTES = {
    "token_type": "byte",
    "normalize": "none",
    "tokens": list(BYTE_NAMES),
    "line_end_id": 10,
    "unknown_id": None,
}


def facts_of(rules):
    """What model.json would say of a small vocabulary, and the vocabulary."""
    tokens = ["a", " " if rules.token_type == "char" else "bcd", "<unk>", "\u00e9"]
    tokens += [rules.line_end] if rules.line_end else []
    return {
        "token_type": rules.token_type,
        "normalize": rules.normalize,
        "tokens": tokens,
        "line_end_id": 4 if rules.line_end else None,
        "unknown_id": 2,
    }


def made_without_a_model(rules):
    """A reader that can encode and decode, and no more."""
    reader = onnx_reader.Reader.__new__(onnx_reader.Reader)
    reader.take_vocabulary(facts_of(rules))
    return reader


@pytest.mark.parametrize("rules", ALL_RULES, ids=str)
@pytest.mark.parametrize("close_lines", [False, True])
@settings(max_examples=60)
@given(text=HARD_TEXTS)
def test_the_rule_of_the_reader_is_ours(rules, close_lines, text):
    vocabulary = Vocabulary(facts_of(rules)["tokens"])
    expected = vocabulary.encode(rules.split(text, close_lines)).tolist()
    reader = made_without_a_model(rules)
    assert reader.encode(text, close_lines) == expected
    assert reader.decode(expected) == rules.join(vocabulary.decode(expected))


@given(text=HARD_TEXTS)
def test_the_rule_of_the_reader_is_ours_for_bytes(text):
    reader = onnx_reader.Reader.__new__(onnx_reader.Reader)
    reader.take_vocabulary(FACTS_OF_BYTES)
    ids = reader.encode(text, close_lines=True)
    assert ids == list(text.encode())
    for end in range(len(ids) + 1):  # also inside a character
        written = TokenRules("byte").join(BYTE_NAMES[index] for index in ids[:end])
        assert reader.decode(ids[:end]) == written


def test_scores_are_those_of_the_saved_model(exports, live_model):
    reader = onnx_reader.Reader(exports / "onnx")
    for text in TEXTS:
        tokens, nats = reader.score(text)
        expected = live_model.score([text], context="\n")
        assert tokens == [token.decode() for token in expected["tokens"].numpy()[0]]
        np.testing.assert_allclose(
            nats, -expected["log_probabilities"].numpy()[0], atol=1e-4
        )


def test_texts_are_those_of_the_saved_model(exports, live_model):
    reader = onnx_reader.Reader(exports / "onnx")
    expected = live_model.generate(TEXTS, num_tokens=20, temperature=0.0)["texts"]
    for text, written in zip(TEXTS, expected.numpy(), strict=True):
        assert reader.generate(text, 20, temperature=0.0) == written.decode()


def test_drawn_tokens_follow_the_probabilities(exports):
    """And ``<unk>`` is never among them."""
    reader = onnx_reader.Reader(exports / "onnx")
    drawn = [reader.generate("w1", 1, seed=seed).split() for seed in range(400)]
    words = [words[1] if len(words) > 1 else "<eos>" for words in drawn]
    scores, _ = reader.step([reader.line_end, reader.ids["w1"]])
    probabilities = np.exp(scores[-1])
    probabilities[reader.facts["unknown_id"]] = 0.0
    likeliest = int(np.argmax(probabilities))
    share = words.count(reader.tokens[likeliest]) / len(words)
    expected = probabilities[likeliest] / probabilities.sum()
    assert share == pytest.approx(expected, abs=0.1)
    assert "<unk>" not in words and len(set(words)) > 5


# --- alone --------------------------------------------------------------------------


def test_the_examples_run_without_this_project_and_tensorflow(exports, live_model):
    scored = example_alone("onnx_reader.py", exports / "onnx", "--text=w1 w2")
    expected = live_model.score(["w1 w2"], context="\n")["perplexities"].numpy()[0]
    assert scored.stderr == ""
    assert scored.stdout.splitlines()[-1] == f"perplexity {expected:.3f}"
    arguments = "--prompt=w1", "--num_tokens=9", "--temperature=0"
    written = example_alone("onnx_reader.py", exports / "onnx", *arguments)
    expected = live_model.generate(["w1"], num_tokens=9, temperature=0.0)["texts"]
    assert written.stdout == expected.numpy()[0].decode() + "\n"
    offered = example_alone("litert_keyboard.py", exports / "litert", "w3 w1")
    assert offered.returncode == 0 and len(offered.stdout.splitlines()) == 3


def test_the_keyboard_offers_the_likeliest_words_that_fit(exports, live_model):
    keyboard = litert_keyboard.Keyboard(exports / "litert")
    following = live_model.next_tokens(["w3 nowhere w5"], k=23)
    tokens = [token.decode() for token in following["tokens"].numpy()[0]]
    ranked = dict(zip(tokens, following["probabilities"].numpy()[0], strict=True))
    for typed, start in (("w3 nowhere w5 ", ""), ("w3 nowhere w5 w1", "w1")):
        offered = keyboard.type(typed, 4)
        fitting = [token for token in ranked if token.startswith(start)]
        fitting = [token for token in fitting if token not in ("<unk>", "<eos>")]
        assert [word for word, _ in offered] == fitting[:4]
        for word, probability in offered:
            assert probability == pytest.approx(ranked[word], rel=1e-4)
    assert keyboard.type("w3 q", 4) == []


# --- files that are damaged, or of something else -----------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write(text):
    return lambda path: path.write_text(text)


def newer(path):
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(facts | {"format": 3}))


DAMAGES = {
    "cut": ("model.{}", cut, "damaged, or not that of model.json"),
    "changed": ("model.{}", change_a_byte, "damaged, or not that of model.json"),
    "empty": ("model.{}", write(""), "damaged, or not that of model.json"),
    "no model": ("model.{}", pathlib.Path.unlink, "No such file"),
    "no facts": ("model.json", pathlib.Path.unlink, "No such file"),
    "no JSON": ("model.json", write("{"), "Expecting property name"),
    "a list": ("model.json", write("[]"), "list indices"),
    "of another": ("model.json", write('{"tokens": []}'), "format"),
    "newer": ("model.json", newer, "of format 3, not 1 or 2"),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize(
    "example, place, ending, more",
    [
        ("onnx_reader", "onnx", "onnx", ()),
        ("litert_keyboard", "litert", "tflite", ("w1",)),
    ],
)
def test_damaged_files(
    exports, tmp_path, capsys, monkeypatch, name, example, place, ending, more
):
    folder = shutil.copytree(exports / place, tmp_path / "copy")
    file, damage, reason = DAMAGES[name]
    damage(folder / file.format(ending))
    monkeypatch.setattr(sys, "argv", [f"{example}.py", str(folder), *more])
    assert sys.modules[example].main() == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"{example}.py: {folder}: not a") and reason in line
    assert printed.out == ""


def test_the_keyboard_refuses_characters(tmp_path):
    run = make_run(tmp_path / "run", Vocabulary(["\n", *"abc"]), token_type="char").path
    with pytest.raises(ValueError, match="characters or bytes, not words"):
        litert_keyboard.Keyboard(export(run, "litert"))


# --- JavaScript ---------------------------------------------------------------------

needs_node = pytest.mark.skipif(not NODE, reason="node is not installed")
needs_runtime = pytest.mark.skipif(
    not (NODE and NODE_FOLDER), reason="PTB_LM_TEST_NODE does not name a folder"
)
RULES_IN_NODE = """
import { Reader } from "./onnx_reader.mjs";
import { readFileSync } from "node:fs";
const found = JSON.parse(readFileSync(0, "utf-8")).map(({ facts, texts }) => {
  const reader = new Reader(null, null, facts);
  return texts.flatMap((text) => [false, true].map((close) => {
    const ids = reader.encode(text, close);
    return [ids, reader.decode(ids)];
  }));
});
console.log(JSON.stringify(found));
"""


def node(folder, script, given, *arguments):
    """What a script prints beside a copy of the reader, in a folder."""
    shutil.copy(EXAMPLES / "onnx_reader.mjs", folder)
    (folder / "script.mjs").write_text(script)
    done = subprocess.run(
        [NODE, "script.mjs", *map(str, arguments)],
        cwd=folder,
        input=json.dumps(given),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_the_rule_in_javascript_is_ours(tmp_path):
    generator = random.Random(1)
    texts = ["".join(generator.choices(HARD_PIECES, k=k)) for k in range(9)] * 20
    given = [{"facts": facts_of(rules), "texts": texts} for rules in ALL_RULES]
    found = node(tmp_path, RULES_IN_NODE, given)
    for rules, pairs in zip(ALL_RULES, found, strict=True):
        vocabulary = Vocabulary(facts_of(rules)["tokens"])
        expected = []
        for text in texts:
            for close_lines in (False, True):
                ids = vocabulary.encode(rules.split(text, close_lines)).tolist()
                expected.append([ids, rules.join(vocabulary.decode(ids))])
        assert pairs == expected


@needs_node
def test_the_rule_of_bytes_in_javascript_is_ours(tmp_path):
    """Also where a text is cut inside a character, or begins with U+FEFF."""
    script = """
import { Reader } from "./onnx_reader.mjs";
import { readFileSync } from "node:fs";
const { facts, texts } = JSON.parse(readFileSync(0, "utf-8"));
const reader = new Reader(null, null, facts);
console.log(JSON.stringify(texts.map((text) => {
  const ids = reader.encode(text, true);
  return [ids, ids.map((_, end) => reader.decode(ids.slice(0, end)))];
})));
"""
    texts = ["", "\ufeffa\r\n\0", "\u4f60\u597d\U0001f600", "e\u0301 <eos>"]
    found = node(tmp_path, script, {"facts": FACTS_OF_BYTES, "texts": texts})
    for text, (ids, written) in zip(texts, found, strict=True):
        data = text.encode()
        assert bytes(ids) == data
        assert written == [
            data[:end].decode("utf-8", "replace") for end in range(len(data))
        ]


@pytest.fixture
def node_folder(tmp_path):
    """A folder with the packages."""
    packages = pathlib.Path(NODE_FOLDER).resolve() / "node_modules"
    (tmp_path / "node_modules").symlink_to(packages)
    return tmp_path


NUMBERS_IN_NODE = """
import * as ort from "RUNTIME";
import { Reader } from "./onnx_reader.mjs";
import { readFileSync } from "node:fs";
const folder = process.argv[2];
const facts = JSON.parse(readFileSync(`${folder}/model.json`, "utf-8"));
const model = new Uint8Array(readFileSync(`${folder}/model.onnx`));
const reader = await Reader.open(ort, model, facts);
const found = [];
for (const text of JSON.parse(readFileSync(0, "utf-8"))) {
  const written = await reader.generate(text, { numTokens: 20, temperature: 0 });
  found.push([(await reader.score(text)).nats, written]);
}
console.log(JSON.stringify(found));
"""


@needs_runtime
@pytest.mark.parametrize("runtime", ["onnxruntime-node", "onnxruntime-web"])
def test_javascript_says_what_python_says(exports, node_folder, runtime):
    script = NUMBERS_IN_NODE.replace("RUNTIME", runtime)
    found = node(node_folder, script, TEXTS, exports / "onnx")
    reader = onnx_reader.Reader(exports / "onnx")
    for text, (nats, written) in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(nats, reader.score(text)[1], atol=1e-4)
        assert written == reader.generate(text, 20, temperature=0.0)


@needs_runtime
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_in_javascript(exports, node_folder, name):
    folder = shutil.copytree(exports / "onnx", node_folder / "copy")
    file, damage, _ = DAMAGES[name]
    damage(folder / file.format("onnx"))
    shutil.copy(EXAMPLES / "onnx_reader.mjs", node_folder)
    done = subprocess.run(
        [NODE, "onnx_reader.mjs", str(folder)],
        cwd=node_folder,
        capture_output=True,
        text=True,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("onnx_reader.mjs: ")
