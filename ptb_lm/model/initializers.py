"""Distributions of the initial weights, as options write them."""

import keras

from ptb_lm.options import parse_distribution


def make_initializer(
    distribution: str, init_scale: float, seed: int
) -> keras.Initializer:
    """Draws one weight.

    Args:
      distribution: "uniform:SCALE", within +-SCALE, or "normal:SCALE", of that
        standard deviation and mean 0; empty: uniform within +-init_scale.
      init_scale: as above.
      seed: the same seed gives the same weight.
    """
    name, scale = "uniform", init_scale
    if distribution:
        name, scale = parse_distribution(distribution)
    if name == "normal":
        return keras.initializers.RandomNormal(0.0, scale, seed=seed)
    return keras.initializers.RandomUniform(-scale, scale, seed=seed)
