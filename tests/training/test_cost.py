"""The cost of training: the published models', and every matrix of every model."""

import pytest

import run_ptb
from ptb_lm.config import Config
from ptb_lm.data.windows import training_windows
from ptb_lm.model.language_model import build_model
from ptb_lm.registry import CELLS
from ptb_lm.training.cost import flop_of_equal_windows, token_flop
from tests.support.made_up import WINDOWS, make_config, make_corpus, train

VOCAB = 31


@pytest.mark.parametrize(
    "preset, layers, hidden, windows, megaflop, petaflop",
    [
        ("small", 2, 200, 2323, 15.8, 0.19),
        ("medium", 2, 650, 1327, 79.6, 2.9),
        ("large", 2, 1500, 1327, 306, 15.6),
    ],
)
def test_published_models(preset, layers, hidden, windows, megaflop, petaflop):
    """6 (8 n h^2 + h V) a token, of PTB's windows of all epochs."""
    config = run_ptb.parse([f"--model={preset}"])
    found = token_flop(config.model, 10_000)
    assert found == 6 * (8 * layers * hidden**2 + hidden * 10_000)
    assert found / 1e6 == pytest.approx(megaflop, rel=0.005)
    steps = windows * config.training.max_max_epoch
    whole = flop_of_equal_windows(config, 10_000, steps)
    assert whole / 1e15 == pytest.approx(petaflop, rel=0.02)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": 5, "num_layers": 3},
        {"embedding_size": 4, "layer_sizes": "6,3", "num_layers": 2},
        {"hidden_size": 5, "num_layers": 1, "mogrifier_rank": 2},
    ],
    ids=str,
)
def test_every_matrix_is_multiplied_once_a_token(cell, tied, sizes):
    """The embedding only where it is the softmax's; biases are no matrices."""
    config = Config.from_values({"cell": cell, "tied": tied} | sizes)
    weights = build_model(config, VOCAB).named_variables()
    matrices = [
        variable
        for name, variable in weights.items()
        if "bias" not in name and (tied or name != "embedding")
    ]
    assert all(len(variable.shape) == 2 for variable in matrices)
    multiply_adds = sum(variable.shape.num_elements() for variable in matrices)
    assert token_flop(config.model, VOCAB) == 6 * multiply_adds


@pytest.mark.parametrize("lengths", ["fixed", "random"])
def test_results_have_the_cost_of_the_tokens_trained_on(made_up, tmp_path, lengths):
    """Of a stopped and resumed run too, which has measured one epoch of three."""
    options = {"window_lengths": lengths, "num_steps": 5, "max_max_epoch": 3}
    config, corpus = make_config(**options), make_corpus()
    made_up["valid"] = [1.0, 2.0, 3.0]
    results = train(tmp_path / "run", **options)
    windows = training_windows(corpus.splits["train"], config.training)
    tokens = sum(
        windows.read(epoch, window)[1].size
        for epoch in range(3)
        for window in range(windows.count(epoch))
    )
    assert results.training_flop == tokens * token_flop(config.model, 8)
    (tmp_path / "run" / "results.json").unlink()
    assert train(tmp_path / "run", **options).training_flop == results.training_flop


def test_cost_of_equal_windows_is_that_of_the_results(made_up, tmp_path):
    results = train(tmp_path / "run")
    found = flop_of_equal_windows(make_config(), 8, 2 * WINDOWS)
    assert results.training_flop == found
