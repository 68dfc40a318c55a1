"""--dtype=auto: the faster type, chosen once and kept by the run."""

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.model import precision
from ptb_lm.runs.folder import RunFolder
from ptb_lm.training import auto_dtype
from tests.support.made_up import train


class Clock:
    """Stands for the module `time` as the measurement sees it."""

    seconds = 0.0

    def perf_counter(self):
        return self.seconds


@pytest.fixture
def takes(monkeypatch):
    """Makes the measured products take so many seconds of a clock that they turn."""
    monkeypatch.setattr(precision, "_cpu_features", lambda: {"avx512_bf16"})
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    clock = Clock()
    monkeypatch.setattr(auto_dtype, "time", clock)

    def make(**seconds):
        def products(config, vocab_size, dtype):
            def multiply():
                clock.seconds += seconds[dtype]
                return tf.constant(0.0)

            return multiply

        monkeypatch.setattr(auto_dtype, "_products_of_a_step", products)

    return make


@pytest.mark.parametrize(
    ("bfloat16", "chosen"),
    [(0.002, "bfloat16"), (0.0195, "float32"), (0.05, "float32")],
)
def test_the_faster_type_is_chosen(takes, bfloat16, chosen):
    takes(float32=0.02, bfloat16=bfloat16)
    dtype, reason = auto_dtype.choose_dtype(Config(), 100)
    assert dtype == chosen
    assert "of the time of float32 ones" in reason


def test_a_machine_without_the_instructions_measures_nothing(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_features", lambda: {"avx2"})
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    dtype, reason = auto_dtype.choose_dtype(Config(), 100)
    assert (dtype, reason) == ("float32", "this machine multiplies no bfloat16")


def test_a_run_keeps_what_was_chosen(takes, tmp_path, capsys):
    takes(float32=0.02, bfloat16=0.002)
    train(tmp_path, dtype="auto", max_max_epoch=1)
    assert "Matrix products in bfloat16: bfloat16 products take 0." in (
        capsys.readouterr().out
    )
    folder = RunFolder(tmp_path)
    assert folder.config().model.dtype == "bfloat16"
    first = folder.weights("last")
    takes(float32=0.002, bfloat16=0.02)  # as on another machine
    train(tmp_path, dtype="auto", max_max_epoch=2)
    assert RunFolder(tmp_path).config().model.dtype == "bfloat16"
    assert "Matrix products" not in capsys.readouterr().out
    changed = RunFolder(tmp_path).weights("last")
    assert any((changed[name] != value).any() for name, value in first.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_products_are_those_of_a_step(dtype):
    """In float32 as NumPy has them; in bfloat16 close to that."""
    config = Config.from_values({"hidden_size": 3, "num_steps": 2, "batch_size": 2})
    found = auto_dtype._products_of_a_step(config, 5, dtype)()
    # Ones: inputs [4, 3] x [3, 12] and [4, 3] x [3, 5]; the state [2, 3] twice.
    expected = 4 * 12 * 3 + 4 * 5 * 3 + 2 * 3 * 9
    np.testing.assert_allclose(found, expected, rtol=1e-2)
