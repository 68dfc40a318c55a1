"""A real TensorBoard on loopback, asked over HTTP for what a run has written."""

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np
import pytest

import run_ptb
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.runs.folder import RunFolder
from ptb_lm.tensorboard import hparams, projector
from ptb_lm.tensorboard.curves import BEST_VALID, TEST
from ptb_lm.training import finish
from tests.support.files import write_random_corpus
from tests.support.processes import arguments

MORE = {
    "first": ["--histograms_every_steps=20", "--profile_steps=5,6"],
    "second": ["--hidden_size=4", "--tied", "--sample_prompts=w1 w2|", "--seed=3"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two finished runs."""
    folder = tmp_path_factory.mktemp("tensorboard")
    corpus = write_random_corpus(folder / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "export_run", lambda *_: None)  # takes long
        for name, more in MORE.items():
            path = folder / "runs" / name
            command = arguments(corpus, path, "--sample_tokens=4", *more)
            assert run_ptb.main(command) == 0
    return folder / "runs"


class Page:
    """TensorBoard's HTTP interface."""

    def __init__(self, address):
        self._address = address

    def bytes(self, path, body=None, **query):
        """The answer to a GET, or to a POST where there is a body."""
        url = f"{self._address}/data/plugin/{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "text/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def json(self, path, body=None, **query):
        """The same, read as JSON."""
        return json.loads(self.bytes(path, body, **query))


@pytest.fixture(scope="module")
def page(runs):
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={runs}"]
    process = subprocess.Popen(
        [*command, "--host=127.0.0.1", "--port=0", "--load_fast=false"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
            line = process.stderr.readline()
            assert line, f"TensorBoard ended: {said}"
            said += line
        page = Page(found[0])
        deadline = time.monotonic() + 120
        while len(page.json("scalars/tags")) < 4 and time.monotonic() < deadline:
            time.sleep(0.2)
        yield page
    finally:
        process.kill()
        process.communicate()


def results(runs, name):
    return json.loads((runs / name / "results.json").read_text())


def test_scalars(page, runs):
    """Each curve has the points that the run measured, once."""
    tags = page.json("scalars/tags")
    assert sorted(tags) == ["first", "first/valid", "second", "second/valid"]
    steps = {"perplexity", "learning_rate", "gradient_norm", "clipped_share"}
    expected = {f"step/{name}" for name in (*steps, "tokens_per_second")}
    expected |= {"epoch/perplexity", BEST_VALID, TEST}
    assert set(tags["first"]) == expected
    for run in MORE:
        epochs = results(runs, run)["epochs"]
        for split, folder in (("train", run), ("valid", f"{run}/valid")):
            points = page.json("scalars/scalars", run=folder, tag="epoch/perplexity")
            assert [point[1] for point in points] == [1, 2]
            values = [epoch[f"{split}_perplexity"] for epoch in epochs]
            assert [point[2] for point in points] == pytest.approx(values, rel=1e-6)
    points = page.json("scalars/scalars", run="first", tag="step/perplexity")
    assert [point[1] for point in points] == list(range(3, epochs[-1]["step"] + 1, 3))


def test_hparams_table(page, runs):
    """A row a run, with its options, and its last, best and test perplexity."""
    experiment = page.json("hparams/experiment", {"experimentName": ""})
    names = [info["name"] for info in experiment["hparamInfos"]]
    assert set(names[:5]) == hparams.FIRST
    wanted = [info["name"] for info in experiment["metricInfos"]]
    assert wanted[0] == {"group": "valid", "tag": "epoch/perplexity"}
    request = {
        "startIndex": 0,
        "sliceSize": 10,
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"metric": wanted[0], "order": "ORDER_ASC"}],
    }
    groups = page.json("hparams/session_groups", request)["sessionGroups"]
    assert len(groups) == len(MORE)
    perplexities = []
    for group in groups:
        (session,) = group["sessions"]
        run = session["name"]
        assert group["name"].startswith(f"{run} 2")
        config = RunFolder(runs / run).config()
        for name, value in config.run_values().items():
            assert group["hparams"][name] == value, name
        assert group["hparams"]["corpus"] == "corpus"
        metrics = {
            (metric["name"]["group"], metric["name"]["tag"]): metric["value"]
            for metric in group["metricValues"]
        }
        measured = results(runs, run)
        last, best = measured["epochs"][-1], measured["best_weights"]
        perplexities.append(metrics["valid", "epoch/perplexity"])
        expected = {
            ("valid", "epoch/perplexity"): last["valid_perplexity"],
            ("", "epoch/perplexity"): last["train_perplexity"],
            ("", BEST_VALID): best["valid_perplexity"],
            ("", TEST): best["test_perplexity"],
        }
        del metrics["", "step/tokens_per_second"]
        assert metrics == pytest.approx(expected, rel=1e-6)
    assert perplexities == sorted(perplexities)


def test_text(page, runs):
    """The same prompts after every epoch, in bold, each gone on with."""
    assert page.json("text/tags") == {run: ["epoch/samples"] for run in MORE}
    vocabulary = RunFolder(runs / "second").vocabulary()
    for run, prompts in (("first", 3), ("second", 2)):
        texts = page.json("text/text", run=run, tag="epoch/samples")
        assert [text["step"] for text in texts] == [1, 2]
        for text in texts:
            blocks = re.findall(r"<pre>(.*?)</pre>", text["text"], re.DOTALL)
            assert len(blocks) == prompts
            words = [re.findall(r"w\d+", block) for block in blocks]
            assert {word for block in words for word in block} <= {*vocabulary.tokens}
            if run == "second":
                assert blocks[0].startswith("<strong>w1 w2</strong>")
                assert blocks[1].startswith("<strong></strong>")
                assert len(words[0]) <= 2 + 4
    lines = (runs.parent / "corpus" / "valid.txt").read_text().splitlines()
    first = page.json("text/text", run="first", tag="epoch/samples")[0]["text"]
    for line in lines[:3]:
        assert " ".join(line.split()[:3]) in first


def test_projector(page, runs):
    """The tensor is the best embedding, the labels its words with their counts."""
    deadline = time.monotonic() + 60
    while len(page.json("projector/runs")) < len(MORE) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted(page.json("projector/runs")) == sorted(MORE)
    text = (runs.parent / "corpus" / "train.txt").read_text().replace("\n", " <eos> ")
    for run in MORE:
        (info,) = page.json("projector/info", run=run)["embeddings"]
        embedding = RunFolder(runs / run).weights("best")["embedding"]
        assert info["tensorShape"] == list(embedding.shape)
        query = {"run": run, "name": info["tensorName"]}
        tensor = np.frombuffer(page.bytes("projector/tensor", **query), "<f4")
        tensor = tensor.reshape(embedding.shape)
        np.testing.assert_allclose(tensor, embedding, rtol=2**-15)
        assert (tensor != embedding).sum() <= 1
        rows = page.bytes("projector/metadata", **query).decode().splitlines()
        assert rows[0] == "word\tcount"
        cells = [row.split("\t") for row in rows[1:]]
        assert [word for word, _ in cells] == [
            *RunFolder(runs / run).vocabulary().tokens
        ]
        for word, count in cells:
            assert int(count) == text.split().count(word), word


def test_histograms(page, runs):
    tags = page.json("histograms/tags")
    assert list(tags) == ["first"]
    weights = RunFolder(runs / "first").weights("last")
    names = {f"weights/{name}{end}" for end in ("", "/gradient") for name in weights}
    assert set(tags["first"]) == names
    for name in names:
        points = page.json("histograms/histograms", run="first", tag=name)
        assert [step for _, step, _ in points if step] == [20, 40]
    buckets = points[-1][2]
    assert sum(count for _, _, count in buckets) > 0


def test_profile_is_written(runs):
    assert len(list((runs / "first/plugins/profile").glob("*/*.xplane.pb"))) == 1
    assert not (runs / "second/plugins/profile").exists()


@pytest.mark.parametrize(
    "embedding",
    [
        np.zeros((3, 2), np.float32),
        np.full((3, 2), np.frombuffer(b"\n1\n2", "<f4")[0]),
        np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32),
    ],
)
def test_embeddings_are_never_taken_for_text(tmp_path, embedding):
    from tensorboard.plugins.projector import projector_plugin

    words = Vocabulary(["a b".replace(" ", "\t"), "\n", "é"])
    projector.write_embeddings(tmp_path, embedding, words, np.array([1, 0, 2]))
    path = tmp_path / projector.FOLDER / "embedding.bytes"
    with pytest.raises(UnicodeDecodeError):
        projector_plugin._read_tensor_tsv_file(str(path))
    read = projector_plugin._read_tensor_binary_file(str(path), [3, 2])
    np.testing.assert_allclose(read, embedding, rtol=2**-15, atol=1e-30)
    table = (path.parent / "words.tsv").read_text().splitlines()
    assert table == ["word\tcount", r"'a\tb'" + "\t1", r"'\n'" + "\t0", "é\t2"]
