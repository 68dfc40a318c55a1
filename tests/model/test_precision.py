"""Mixed precision: close to float32, and float32 where it must be."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.model import precision
from ptb_lm.registry import CELLS
from ptb_lm.training.step import TrainingProgram
from tests.support.arithmetic import BATCH, VOCAB, make_config, random_windows


def gradients_in(dtype, **options):
    config = make_config(dtype=dtype, **options)
    program = TrainingProgram(config, VOCAB)
    inputs, targets = next(random_windows(1))
    nats, state, gradients = program.gradients(
        inputs, targets, tf.constant(0, tf.int64)
    )
    return nats, tf.nest.flatten(state), gradients


ADAPTIVE = {"softmax": "adaptive", "softmax_cutoffs": "4,8"}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        *({"cell": cell} for cell in CELLS),
        ADAPTIVE,
        {"softmax": "sampled", "softmax_samples": 5},
        {"keep_prob_recurrent": 0.5, "keep_prob": 0.8},
        {"keep_prob_recurrent": 0.5, "dropout": "sequence", "cell": "gru"} | ADAPTIVE,
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_bfloat16_is_close_to_float32_and_all_is_kept_in_float32(options, tied):
    exact, rounded = (
        gradients_in(dtype, tied=tied, **options) for dtype in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(rounded[0], exact[0], rtol=3e-3)
    assert rounded[0] != exact[0], "nothing was multiplied in bfloat16"
    flat = [tf.nest.flatten(r[1:], expand_composites=True) for r in (rounded, exact)]
    for mine, other in zip(*flat, strict=True):
        assert mine.dtype == other.dtype
        if mine.dtype == tf.float32:
            scale = np.abs(other).max()
            np.testing.assert_allclose(mine, other, atol=0.03 * scale)


def test_the_softmax_sums_in_float32():
    """10,000 equal logits: a bfloat16 sum would stop growing at 256."""
    from ptb_lm.model.losses import token_nats

    vocab = 10_000
    nats = token_nats(
        tf.zeros([BATCH, 3]),
        tf.zeros([3, vocab]),
        tf.zeros([vocab]),
        tf.zeros([BATCH], tf.int32),
        matmul_dtype="bfloat16",
    )
    np.testing.assert_allclose(nats, np.log(vocab), rtol=1e-6)


def test_hardware_without_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_features", lambda: {"avx2", "fma"})
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    precision.check_dtype("float32")
    with pytest.raises(UserError, match="--dtype=bfloat16: this processor"):
        precision.check_dtype("bfloat16")
    monkeypatch.setattr(precision, "_cpu_features", lambda: {"avx512_bf16"})
    precision.check_dtype("bfloat16")
