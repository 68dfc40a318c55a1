"""The prompts of the texts that a model writes after every epoch."""

import html
import re

import pytest
import tensorflow as tf
from tensorboard.plugin_util import markdown_to_safe_html

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from ptb_lm.model.language_model import build_model
from ptb_lm.tensorboard.events import RUN
from ptb_lm.tensorboard.text_samples import TextSamples, prompts
from tests.support.events import RecordedEvents, scores_of

TEXT = "The Time Machine, by H. G. Wells\n\nThe Time\n I \nThe end of it\n"


def config_and_corpus(token_type, normalize, **options):
    options |= {"token_type": token_type, "normalize": normalize}
    config = Config.from_values({"hidden_size": 3, "num_layers": 1, **options})
    tokens = TokenRules(token_type, normalize).split(TEXT, close_lines=True)
    vocabulary = Vocabulary.from_tokens(tokens)
    ids = vocabulary.encode(tokens)
    return config, Corpus("text", dict.fromkeys(("train", "valid"), ids), vocabulary)


@pytest.mark.parametrize(
    "token_type, normalize, expected",
    [
        ("word", "none", ["The Time Machine,", "The Time", "I"]),
        ("word", "letters", ["the time machine"]),
        ("char", "none", ["The Time Mac", "The Time", "I"]),
        ("char", "letters", ["the time mac"]),
    ],
)
def test_the_valid_texts_sentences_begin(token_type, normalize, expected):
    assert prompts(*config_and_corpus(token_type, normalize)) == expected


@pytest.mark.parametrize(
    "token_type, normalize", [("word", "letters"), ("char", "letters")]
)
def test_prompts_are_normalized_as_the_corpus_is(token_type, normalize):
    options = {"sample_prompts": "The Time|TIME; the\u00e9 Machine", "sample_tokens": 2}
    config, corpus = config_and_corpus(token_type, normalize, **options)
    model = build_model(config, len(corpus.vocabulary))
    events = RecordedEvents()
    TextSamples(events, model, corpus, config).after_epoch(scores_of(3))
    ((*place, markdown),) = events.written
    assert place == ["text", RUN, 3, "epoch/samples"]
    first, second = markdown.split("\n\n")
    assert first.startswith("<pre><strong>the time</strong>")
    assert second.startswith("<pre><strong>time the machine</strong>")


@pytest.mark.parametrize(
    "text, prompt",
    [
        ("<b> & </pre> *x* | `y` $z$ <script> \n", "<b> & </pre>"),
        ("a\rb\r\r# c\n\x02d\n", "a"),
        ("_ [x](y) ![i](j) # 1.\n", "_ ["),
    ],
)
def test_no_text_is_taken_for_markup(text, prompt):
    """TensorBoard shows the characters as they are, and the prompt bold."""
    tokens = TokenRules("char").split(text, close_lines=True)
    vocabulary = Vocabulary.from_tokens(tokens)
    ids = vocabulary.encode(tokens)
    corpus = Corpus("text", dict.fromkeys(("train", "valid"), ids), vocabulary)
    options = {"token_type": "char", "sample_prompts": prompt}
    config = Config.from_values({"hidden_size": 3, "num_layers": 1, **options})
    events = RecordedEvents()
    model = build_model(config, len(vocabulary))
    samples = TextSamples(events, model, corpus, config)
    samples._model = Fixed(text)
    samples.after_epoch(scores_of(1))
    shown = markdown_to_safe_html(events.written[0][-1])
    assert set(re.findall(r"</?(\w+)", shown)) == {"pre", "strong"}
    (block,) = re.findall("(?s)^<pre>(.*?)</pre>", shown)
    bold, rest = re.fullmatch("(?s)<strong>(.*?)</strong>(.*)", block).groups()
    expected = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x02", "")
    assert html.unescape(bold) == prompt
    assert html.unescape(bold + rest) == expected


class Fixed:
    """In the place of a model: every text is the same."""

    def __init__(self, text):
        self._text = text

    def generate(self, prompts, **_):
        return {"texts": tf.constant([self._text] * len(prompts))}


@pytest.mark.parametrize(
    "token_type, normalize, given, expected",
    [
        ("word", "none", "The Time|time", "not in the corpus: 'time'"),
        ("char", "none", "z", "not in the corpus: 'z'"),
        ("char", "letters", "The Zoo", "not in the corpus: 'z'"),
        ("word", "letters", "the|1895", "one is empty, and no line ends before"),
    ],
)
def test_what_cannot_be_read_is_named(token_type, normalize, given, expected):
    config, corpus = config_and_corpus(token_type, normalize, sample_prompts=given)
    with pytest.raises(UserError) as caught:
        prompts(config, corpus)
    assert str(caught.value) == f"--sample_prompts: {expected}"


def test_an_empty_prompt_follows_a_line_end():
    config, corpus = config_and_corpus("word", "none", sample_prompts="|The Time")
    assert prompts(config, corpus) == ["", "The Time"]
