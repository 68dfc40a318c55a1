"""Every mode is a member of a registry, to which other code can add its own."""

import pytest

import run_ptb
from ptb_lm.registry import MODES


@pytest.mark.parametrize("name", list(MODES))
def test_every_mode_has_a_function(name):
    assert MODES[name].__name__ == "run"
    assert run_ptb.parse([f"--mode={name}"]).run.mode == name


def test_a_mode_from_outside(capsys):
    MODES.register("hello", lambda config: print(config.training.seed) or 7)
    try:
        assert run_ptb.main(["--mode=hello", "--seed=5"]) == 7
    finally:
        MODES.unregister("hello")
    assert capsys.readouterr().out == "5\n"
    assert run_ptb.main(["--mode=hello"]) == 2
    assert "--mode=hello: must be one of train, " in capsys.readouterr().err
