"""What TensorFlow's native code logs while it starts."""

import os

import pytest

from ptb_lm.errors import UserError
from ptb_lm.system.quiet_start import native_stderr_held_back


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
