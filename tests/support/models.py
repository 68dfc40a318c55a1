"""Run folders of models that nobody trained."""

import numpy as np

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.evaluation.evaluator import CHUNK_TOKENS, Evaluator
from ptb_lm.evaluation.plain import Plain
from ptb_lm.inference.text_model import TextModel
from ptb_lm.model.language_model import LanguageModel, build_model
from ptb_lm.runs.folder import RunFolder

VOCABULARY = Vocabulary(["<eos>", "<unk>", *(f"w{index}" for index in range(21))])


def plain_evaluator(model, chunk_tokens=CHUNK_TOKENS):
    """Scores with a model as it is."""
    return Evaluator(Plain(model, Config()), chunk_tokens)


def make_run(path, vocabulary=VOCABULARY, **options):
    """A run folder with a checkpoint of random weights."""
    options = {"hidden_size": 10, "init_scale": 0.7, "seed": 4} | options
    config = Config.from_values(options)
    model = build_model(config, len(vocabulary))
    folder = RunFolder(path)
    folder.open_for_training(config, vocabulary)
    arrays = {f"model/{n}": v.numpy() for n, v in model.named_variables().items()}
    folder.checkpoints.save(1, arrays, {}, best=True)
    folder.close()
    return folder


def make_text_model(
    tied=False, vocabulary=VOCABULARY, token_type="word", hidden=10, **kwargs
):
    """A model of random weights, and what makes texts of it."""
    model = LanguageModel(
        len(vocabulary), hidden, 2, init_scale=0.7, tied=tied, seed=1, **kwargs
    )
    return model, TextModel(model, vocabulary, token_type)


def random_text(words, seed=0):
    """Words of VOCABULARY, and two more, with line ends here and there."""
    rng = np.random.default_rng(seed)
    ends = np.array([" ", "\n"])[(rng.random(words) < 0.1).astype(int)]
    ids = rng.integers(0, 23, words)  # w21 and w22 are unknown
    return "".join(f"w{i}{end}" for i, end in zip(ids, ends, strict=True))
