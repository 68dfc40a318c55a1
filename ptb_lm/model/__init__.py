"""The network: cells and their kernels, dropout, losses, the language model."""

from ptb_lm.model.gru import GRU
from ptb_lm.model.language_model import LanguageModel
from ptb_lm.model.lstm import LSTM
from ptb_lm.model.simple import SimpleRNN

__all__ = ["GRU", "LSTM", "LanguageModel", "SimpleRNN"]
