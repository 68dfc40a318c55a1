import atexit
import os
import pathlib
import shutil
import tempfile

import hypothesis
import pytest

# Encoded corpora of the tests are kept out of the home folder.
os.environ["PTB_LM_CACHE"] = tempfile.mkdtemp(prefix="ptb_lm-test-cache-")
atexit.register(shutil.rmtree, os.environ["PTB_LM_CACHE"], ignore_errors=True)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """What is long is slow too."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data; skips where there is none."""
    root = os.environ.get("PTB_LM_TEST_DATA")
    if not root:
        pytest.skip("PTB_LM_TEST_DATA does not name a folder with real data")
    return pathlib.Path(root)


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory):
    """Folder of a run of random weights, exported once; copy it to change it."""
    import run_ptb
    from tests.support.models import make_run

    path = tmp_path_factory.mktemp("exported") / "my run"
    make_run(path)
    assert run_ptb.main(["--mode=export", f"--save_path={path}"]) == 0
    return path


@pytest.fixture(scope="session")
def live_model(exported_run):
    """The text model of that run's checkpoint; what it has traced is kept."""
    from ptb_lm.inference.opening import open_text_model

    return open_text_model(exported_run)


@pytest.fixture(scope="session")
def saved_model(exported_run):
    """That run's SavedModel, restored by TensorFlow alone."""
    import tensorflow as tf

    return tf.saved_model.load(str(exported_run / "saved_model"))
