"""What TensorFlow's native code logs while it starts."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

from ptb_lm.errors import UserError
from ptb_lm.system.quiet_start import UNUSED, native_stderr_held_back, not_importable
from tests.support.documents import PROJECT


@pytest.mark.parametrize(
    "error, shown",
    [(UserError, ""), (KeyboardInterrupt, ""), (ImportError, "noise"), (None, "")],
)
def test_it_is_shown_only_where_it_explains_an_error(capfd, error, shown):
    def start():
        with native_stderr_held_back():
            os.write(2, b"noise")
            if error:
                raise error

    if error:
        with pytest.raises(error):
            start()
    else:
        start()
    os.write(2, b"!")
    assert capfd.readouterr().err == f"{shown}!"


def test_what_is_hidden_is_importable_afterwards():
    sys.modules.pop("colorsys", None)
    import_module("json")
    with not_importable(["colorsys", "json"]):
        with pytest.raises(ImportError):
            import_module("colorsys")
        import_module("json")
    import_module("colorsys")


def test_the_start_imports_nothing_that_is_not_needed(tmp_path):
    """Where Keras would import a package, there is one that says so."""
    for name in UNUSED:
        (tmp_path / f"{name}.py").write_text(f"print('imported {name}')")
    code = (
        "import run_ptb; run_ptb.set_environment()\n"
        "from ptb_lm.system.quiet_start import start_tensorflow\n"
        "start_tensorflow()\n"
        "print('started')\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(PROJECT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "started\n"
