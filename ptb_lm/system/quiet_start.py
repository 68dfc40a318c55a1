"""Starts TensorFlow, quietly and without what it needs not import.

TensorFlow's native code logs before its logging is set up, past
TF_CPP_MIN_LOG_LEVEL (tensorflow/tensorflow issue 100442): that there is no GPU,
that oneDNN is on. They hide what matters to the person at the terminal.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ptb_lm.errors import UserError

# Keras imports them where they are installed, for what this project has no use for.
# They take a second of the start.
UNUSED = ("pandas", "matplotlib", "IPython")

_imported: list[Any] = []  # TensorFlow, from its import to its first operation


@contextlib.contextmanager
def native_stderr_held_back() -> Iterator[None]:
    """Holds file descriptor 2 back.

    If an error is raised, what was held back is shown after all; but not for a
    UserError, which says all that matters, nor where the user stops the program.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException:
            held_back.seek(0)
            os.write(original, held_back.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


@contextlib.contextmanager
def not_importable(names: Iterable[str]) -> Iterator[None]:
    """Meanwhile, packages that are not imported yet seem not to be installed."""
    hidden = {name: None for name in names if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]  # None is Python's way
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras, which then do nothing yet."""
    if "tensorflow" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        return
    with native_stderr_held_back(), not_importable(UNUSED):
        import keras  # noqa: F401
        import tensorflow

        _imported.append(tensorflow)


def start_tensorflow(prepare: Callable[[], Any] = lambda: None) -> Any:
    """Imports TensorFlow and makes it say at once what it says only once.

    Args:
      prepare: called before TensorFlow's first operation, after which its devices
        cannot be changed any more.

    Returns:
      What `prepare` returns.
    """
    import_tensorflow()
    if not _imported:  # it may have said so already, or is to be heard
        return prepare()
    tf = _imported.pop()
    with native_stderr_held_back():
        prepared = prepare()
        transpose = tf.function(lambda ids: tf.transpose(ids), autograph=False)
        transpose(tf.zeros([2, 3], tf.int32))
    return prepared


@contextlib.contextmanager
def tensorflow_warnings_held_back() -> Iterator[None]:
    """Holds back what TensorFlow's Python logs of every SavedModel."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
