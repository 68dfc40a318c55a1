"""Initial weights: the distribution of each part, and their streams."""

import keras
import numpy as np
import pytest

from ptb_lm.errors import UserError
from ptb_lm.model import LanguageModel

SIZE = 60


def weights(**options):
    model = LanguageModel(SIZE, SIZE, 2, seed=7, **options)
    return {name: v.numpy() for name, v in model.named_variables().items()}


def is_uniform(array, scale):
    """Fills +-scale evenly."""
    deciles = np.quantile(array, np.linspace(0, 1, 11))
    even = np.linspace(-scale, scale, 11)
    return np.abs(array).max() <= scale and np.allclose(deciles, even, atol=scale / 10)


def is_normal(array, deviation):
    """Has the standard deviation, and 5 % of it beyond two of them."""
    beyond = np.mean(np.abs(array) > 2 * deviation)
    return np.isclose(array.std(), deviation, rtol=0.06) and 0.03 < beyond < 0.06


def test_all_weights_are_uniform_as_init_scale_says():
    found = weights(init_scale=0.3)
    for name, array in found.items():
        if name.endswith("/bias"):
            assert not array.any()
        elif name != "softmax_bias":  # 60 numbers are too few
            assert is_uniform(array, 0.3), name
    assert 0.2 < np.abs(found["softmax_bias"]).max() <= 0.3


def test_each_part_has_its_distribution():
    """And the parts that none is given for are what they are without."""
    plain = weights()
    found = weights(embedding_init="normal:1.5", layer_init="uniform:0.02")
    assert is_normal(found["embedding"], 1.5)
    for layer in range(2):
        assert is_uniform(found[f"lstm_{layer}/kernel"], 0.02)
        assert is_uniform(found[f"lstm_{layer}/recurrent_kernel"], 0.02)
        assert not found[f"lstm_{layer}/bias"].any()
    for name in ("softmax_kernel", "softmax_bias"):
        np.testing.assert_array_equal(found[name], plain[name])
    found = weights(softmax_init="normal:0.5", softmax_bias_init="zero")
    assert is_normal(found["softmax_kernel"], 0.5)
    assert not found["softmax_bias"].any()
    for name in set(found) - {"softmax_kernel", "softmax_bias"}:
        np.testing.assert_array_equal(found[name], plain[name])


def test_a_projection_has_the_distribution_of_the_softmax():
    found = weights(softmax_init="normal:2", embedding_size=50, tied=True)
    assert is_normal(found["projection"], 2.0)
    assert is_uniform(found["embedding"], 0.1)


def test_no_two_weights_are_alike():
    found = weights(layer_init="normal:1")
    kernels = [array for name, array in found.items() if name.endswith("kernel")]
    assert len({kernel.tobytes() for kernel in kernels}) == 5
    again = weights(layer_init="normal:1")
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_unigram_bias():
    """Without features the model says the smoothed frequencies."""
    model = LanguageModel(4, 3, 1, softmax_bias_init="unigram")
    assert not model.named_variables()["softmax_bias"].numpy().any()
    model.set_unigram_bias(np.array([5, 0, 1, 0]))
    said = keras.ops.softmax(model.logits(np.zeros((1, 3), np.float32)))
    np.testing.assert_allclose(said, [[0.6, 0.1, 0.2, 0.1]], rtol=1e-6)


def test_a_tied_softmax_has_no_distribution_of_its_own():
    with pytest.raises(UserError, match="no matrix of its own; use --embedding_init"):
        LanguageModel(4, 3, 1, tied=True, softmax_init="normal:1")


def test_files_from_before_there_were_distributions():
    config = LanguageModel(9, 4, 1).get_config()
    for name in ("embedding_init", "layer_init", "softmax_init", "softmax_bias_init"):
        del config[name]
    ours = LanguageModel.from_config(config).named_variables()
    theirs = LanguageModel(9, 4, 1).named_variables()
    for name, variable in ours.items():
        np.testing.assert_array_equal(variable, theirs[name])
