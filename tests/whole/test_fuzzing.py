"""Whatever is in a file, it is read rightly or refused in one line.

Each test has a short form for every day and one of thousands of examples. Counts of
tokens are compared with a simple count of their own.
"""

import contextlib
import functools
import io
import json
import pathlib
import tempfile
import warnings
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import run_ptb
from ptb_lm.config import Config, DataConfig, option_groups
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from tests.support.checkpoints import put
from tests.support.made_up import make_config, make_corpus

SHORT, LONG = 40, 3000


def fuzz(**strategies):
    """Makes of a check a test of a few examples and a long one of thousands."""

    def decorate(check):
        def make(examples):
            settings = hypothesis.settings(
                max_examples=examples,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            return settings(hypothesis.given(**strategies)(check))

        return make(SHORT), pytest.mark.long(make(LONG))

    return decorate


@contextlib.contextmanager
def refused_or_right(is_good=False):
    """A UserError of one line is fine, unless all is good; no other exception is."""
    try:
        yield
    except UserError as error:
        assert str(error).strip() and "\n" not in str(error)
        assert not is_good, error


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield pathlib.Path(path)


# --- Corpora ------------------------------------------------------------------

ODD = "a b \n \r\n \t \x0b \x0c \x1c \x1d \x85 \xa0 \u2028 \u2029 \u3000 \ufeff <eos>"
pieces = st.one_of(
    st.sampled_from([*ODD.split(" "), " ", "<unk>", "\0", "é", "日本", "\U0001f600"]),
    st.text(max_size=5),
)
texts = st.lists(pieces, max_size=40).map("".join).map(str.encode)
contents = st.one_of(texts, texts, st.binary(max_size=60))


def count_tokens(data, token_type):
    """Tokens of a file by a simple count, line by line."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    if token_type == "char":
        return Counter(text)
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    counts = Counter(word for line in lines for word in line.split())
    counts["<eos>"] += len(lines)
    return counts


def is_complete(files, token_type):
    """Whether the training text has every token of the others, or an <unk>."""
    counts = {n: count_tokens(data, token_type) for n, data in files.items()}
    known = counts["train"].keys()
    return "<unk>" in known or all(found.keys() <= known for found in counts.values())


def all_is_well(files, token_type):
    """Whether nothing is wrong with three files."""
    try:
        counts = {n: count_tokens(data, token_type) for n, data in files.items()}
    except UnicodeDecodeError:
        return False
    if any(b"\0" in data for data in files.values()):
        return False
    seen = {
        name: [token for token in found if token != "<eos>" and not token.isspace()]
        for name, found in counts.items()
    }
    is_varied = token_type == "word" or len(seen["train"]) > 1
    return is_varied and all(seen.values())


def check_split(corpus, split, expected):
    """Each token as often as counted; all that the vocabulary lacks is <unk>."""
    ids, tokens = corpus.splits[split], set(corpus.vocabulary.tokens)
    found = Counter(corpus.vocabulary.decode(ids.tolist()))
    assert ids.dtype in (np.int32, np.uint16)  # as the cache keeps them
    wanted = Counter()
    for token, count in expected.items():
        wanted[token if token in tokens else "<unk>"] += count
    assert found == wanted


@fuzz(
    train=contents,
    others=st.one_of(st.none(), st.tuples(contents, contents)),
    token_type=st.sampled_from(["word", "char"]),
    max_vocab_size=st.one_of(st.just(0), st.integers(1, 6)),
)
def corpora(train, others, token_type, max_vocab_size):
    valid, test = others or (train, train)
    files = {"train": train, "valid": valid, "test": test}
    good = all_is_well(files, token_type)
    with folder() as path, refused_or_right(good):
        for name, content in files.items():
            (path / f"{name}.txt").write_bytes(content)
        config = DataConfig(
            data_path=str(path),
            token_type=token_type,
            max_vocab_size=max_vocab_size,
            cache_dir=str(path / "cache"),
        )
        for _ in range(2):  # encoded, then read from the cache
            corpus = load_corpus(config)
            for name, content in files.items():
                check_split(corpus, name, count_tokens(content, token_type))
        if max_vocab_size:
            assert len(corpus.vocabulary) <= max_vocab_size
            return
        kinds = count_tokens(train, token_type)
        if not is_complete(files, token_type):
            line_ends = ("<eos>", "\n")
            rare = {k for k, n in kinds.items() if n == 1 and k not in line_ends}
            kinds = kinds.keys() - rare | {"<unk>"}
        assert set(corpus.vocabulary.tokens) == set(kinds)


test_corpora, test_fuzz_corpora = corpora


# --- Flagfiles ----------------------------------------------------------------

OPTIONS = [option for _, options in option_groups() for option in options]
odd_values = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "1e999", "nan", "0x10", "1_0", "true", "maybe", "9" * 400]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=8),
    st.sampled_from(
        [choice for o in OPTIONS for choice in o.metadata["choices"] or ()]
    ),
)
names = st.sampled_from([option.name for option in OPTIONS])
flag_lines = st.one_of(
    st.builds("--{}={}".format, names, odd_values),
    st.builds("--{}={}".format, names, odd_values),
    st.builds("-{}".format, names),
    st.builds("--no{}".format, names),
    st.builds("--{} {}".format, names, odd_values),
    st.builds("--{}={}".format, st.text(max_size=8), odd_values),
    st.sampled_from(["# a comment", "// another", "", "  ", "--", "--undefok=x"]),
    st.text(max_size=12),
)


def check_repeats(config):
    """flags.txt gives the same configuration, but for what it leaves out."""
    again = Config.from_text(config.to_text(), "flags.txt")
    left_out = {"save_path": "", "mode": "train"}
    assert again.values() == config.values() | left_out


def as_bytes(lines):
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@fuzz(
    content=st.one_of(
        st.lists(flag_lines, max_size=4).map(as_bytes), st.binary(max_size=40)
    )
)
def flagfiles(content):
    with folder() as path, refused_or_right():
        (path / "my.flags").write_bytes(content)
        config = run_ptb.parse([f"--flagfile={path}/my.flags"])
        if config is not None:
            check_repeats(config)
    with refused_or_right():
        text = content.decode("utf-8", "replace")
        check_repeats(Config.from_text(text, "flags.txt"))


test_flagfiles, test_fuzz_flagfiles = flagfiles


# --- Vocabularies -------------------------------------------------------------

json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner)
    ),
    max_leaves=8,
)
token_lists = st.lists(st.one_of(pieces, st.text(max_size=4)), max_size=12)


@fuzz(
    content=st.one_of(
        token_lists.map(lambda tokens: json.dumps(tokens).encode()),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.binary(max_size=40),
    )
)
def vocabularies(content):
    with folder() as path, refused_or_right():
        (path / "vocabulary.json").write_bytes(content)
        vocabulary = Vocabulary.load(path / "vocabulary.json")
        tokens = json.loads(content.decode("utf-8-sig"))
        assert list(vocabulary.tokens) == tokens and len(set(tokens)) == len(tokens)
        ids = vocabulary.encode(tokens)
        assert ids.tolist() == list(range(len(tokens)))
        assert vocabulary.decode(ids.tolist()) == tokens
        vocabulary.save(path / "again.json")
        assert Vocabulary.load(path / "again.json") == vocabulary


test_vocabularies, test_fuzz_vocabularies = vocabularies


# --- Metadata of checkpoints --------------------------------------------------


@functools.cache
def make_training():
    """A process's part of a run, before it has read a checkpoint."""
    from ptb_lm.runs.folder import RunFolder
    from ptb_lm.system.interrupts import Interrupts
    from ptb_lm.system.progress import Progress
    from ptb_lm.training.trainer import Trainer

    path = pathlib.Path(tempfile.mkdtemp(prefix="ptb_lm-fuzz-"))
    (path / "checkpoints").mkdir()
    (path / "flags.txt").write_text(make_config().to_text())
    arguments = make_config(), make_corpus(), RunFolder(path)
    training = Trainer(*arguments, Progress(io.StringIO()), Interrupts())
    training._arrays = {n: v.numpy() for n, v in training._program.variables().items()}
    return training, path / "checkpoints"


FIGURES = {
    "epoch": 1,
    "step": 12,
    "learning_rate": 1.0,
    "train_perplexity": 9.5,
    "valid_perplexity": 8.5,
    "tokens_per_second": 100.0,
}
POSITION = {
    "step": 12,
    "epoch": 1,
    "window": 0,
    "epoch_nats": 0.0,
    "interval_nats": 0.0,
    "interval_steps": 0,
    "interval_clipped": 0,
    "timed_tokens": 0,
    "timed_seconds": 0.0,
    "wall_seconds": 1.5,
    "resumed": 0,
    "epochs": [FIGURES],
}
numbers = st.one_of(st.integers(), st.floats(), st.integers(-2, 3), json_values)


def changed(values):
    """A dictionary with some of its values, or its names, changed."""
    changes = st.dictionaries(st.sampled_from(sorted(values)), numbers, max_size=2)
    removed = st.sets(st.sampled_from(sorted(values)), max_size=1)
    added = st.dictionaries(st.text(max_size=4), numbers, max_size=1)
    return st.builds(
        lambda change, less, more: {
            name: value
            for name, value in (values | change | more).items()
            if name not in less
        },
        changes,
        removed,
        added,
    )


histories = st.builds(
    lambda position, epochs: position | {"epochs": epochs, "epoch": len(epochs)},
    changed(POSITION),
    st.lists(changed(FIGURES), max_size=3),
)


conditions = st.fixed_dictionaries(
    {},
    optional={
        "options": st.dictionaries(st.just("--seed"), json_values) | json_values,
        "rounding": st.dictionaries(st.just("threads"), json_values) | json_values,
        "changes": st.lists(
            changed({"step": 1, "name": "threads", "before": 2, "after": 1})
        )
        | json_values,
    },
)


@fuzz(
    position=st.one_of(changed(POSITION), histories, json_values),
    others=st.one_of(
        st.just({}), st.dictionaries(st.text(max_size=4), json_values), conditions
    ),
    whole=st.one_of(st.none(), st.none(), st.none(), json_values),
)
def metadata(position, others, whole):
    training, checkpoints = make_training()
    corpus = {"corpus": training._corpus_digest}
    value = whole if whole is not None else others | corpus | {"position": position}
    # As text, in which 0 is not 0.0.
    is_good = json.dumps(value) == json.dumps(others | corpus | {"position": POSITION})
    is_good = is_good and not {"options", "rounding", "changes"} & others.keys()
    stream, text = io.BytesIO(), json.dumps(value).encode()
    np.savez(stream, metadata=np.frombuffer(text, np.uint8), **training._arrays)
    path = put(checkpoints, "last", 12, stream.getvalue())
    try:
        with (
            warnings.catch_warnings(),
            refused_or_right(is_good),
        ):
            warnings.simplefilter("ignore")
            training._restore()
            restored = training._position.to_json()
            expected = {"resumed": 0, "epochs": []} | position
            assert restored.pop("resumed") == 1 + expected.pop("resumed")
            epochs = restored.pop("epochs"), expected.pop("epochs")
            for ours, theirs in zip(*epochs, strict=True):
                assert ours.items() <= theirs.items()
            assert restored.items() >= expected.items()
            training._is_finished()
            if restored["epoch"]:
                training._results()
    finally:
        path.unlink()


test_metadata, test_fuzz_metadata = metadata
