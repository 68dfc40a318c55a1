"""Run folders of models that nobody trained."""

from ptb_lm.config import Config
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.model.language_model import build_model
from ptb_lm.runs.folder import RunFolder

VOCABULARY = Vocabulary(["<eos>", "<unk>", *(f"w{index}" for index in range(21))])


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
