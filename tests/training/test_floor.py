"""A trained model beside the entropy of the language it was trained on."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.data.corpus import load_corpus
from ptb_lm.data.english import ENGLISH, builtin_corpus
from ptb_lm.data.windows import training_windows
from ptb_lm.inference.text_model import TextModel
from ptb_lm.registry import SCHEDULES
from ptb_lm.training.input_pipeline import WindowStream
from ptb_lm.training.schedules import StepPosition
from ptb_lm.training.step import TrainingProgram


def trained_model(corpus, epochs=6):
    """An LSTM of 128 units after a few epochs of Adam."""
    config = Config.from_values(
        {
            "hidden_size": 128,
            "num_layers": 1,
            "keep_prob": 0.9,
            "optimizer": "adam",
            "learning_rate": 0.005,
            "lr_decay": 0.6,
            "max_epoch": 2,
            "max_grad_norm": 100.0,
        }
    )
    windows = training_windows(corpus.splits["train"], config.training)
    stream, count = WindowStream(windows), windows.count(0)
    schedule = SCHEDULES[config.training.schedule](config.training)
    program = TrainingProgram(config, len(corpus.vocabulary))
    for epoch in range(epochs):
        program.reset_state()
        first = StepPosition(epoch * count, epoch, 0, count)
        rates = schedule.rates(first, count, [])
        program.train_steps(stream.start_at(epoch, 0), first.step, rates)
    return TextModel(program.model, corpus.vocabulary)


@pytest.mark.slow
def test_the_floor_is_approached_and_not_passed():
    """Sentence by sentence, on text that neither has seen.

    The mean difference between the model's and the source's nats is a relative
    entropy: it cannot be negative but by the error of a mean over the sentences.
    """
    corpus = load_corpus(Config().data)
    model = trained_model(corpus)
    sentences = builtin_corpus()["test"].splitlines()
    scores = model.score(tf.constant(sentences), context=tf.constant("\n"))
    model_nats = -scores["log_probabilities"].numpy().sum(axis=1)
    source_nats = np.array(
        [-ENGLISH.log_probability(sentence.split()) for sentence in sentences]
    )
    excess = model_nats - source_nats
    error = excess.std() / math.sqrt(len(excess))
    tokens = int(scores["counted"].numpy().sum())
    assert tokens == len(corpus.splits["test"])
    assert excess.mean() > -3 * error
    # Within 12 % of the lowest perplexity; the best n-gram model is 70 % above it.
    assert excess.sum() / tokens < math.log(1.12)
    source = math.exp(source_nats.sum() / tokens)
    assert abs(source / corpus.floor_perplexity - 1) < 0.02
