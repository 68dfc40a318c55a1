"""The `tf.data` stream gives the windows of a text, as they are asked for."""

import itertools
import platform
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.training.input_pipeline import windows
from tests.support.windows import all_windows, as_lists, random_windows, streams

# Building a tf.data.Dataset takes tens of milliseconds.
with_tensorflow = settings(max_examples=25, deadline=None)


def test_random_windows_as_a_dataset():
    ids = np.arange(500, dtype=np.int32)
    batches = windows(ids, 3, 7, lambda: (5, 2), seed=1).as_numpy_iterator()
    assert as_lists(batches) == as_lists(random_windows(ids, 3, 7, (1, 5), start=2))


@with_tensorflow
@given(streams(), st.integers(0, 3))
def test_dataset_equals_the_windows(stream, start):
    dataset = windows(*stream, lambda: (0, start))
    batches = list(dataset.as_numpy_iterator())
    assert as_lists(batches) == as_lists(all_windows(*stream, start))
    # A second epoch of the same dataset begins at the same place.
    assert as_lists(dataset.as_numpy_iterator()) == as_lists(batches)


def test_a_dataset_begins_where_it_is_told_each_time():
    stream, starts = (np.arange(50, dtype=np.int32), 2, 3), [3, 0, 5]
    dataset = windows(*stream, lambda: (0, starts[0]))
    while starts:
        expected = as_lists(all_windows(*stream, starts[0]))
        assert as_lists(dataset.as_numpy_iterator()) == expected
        starts.pop(0)


@with_tensorflow
@given(streams())
def test_dataset_keeps_the_stream_invariant(stream):
    batches = list(windows(*stream).as_numpy_iterator())
    for (_, targets), (next_inputs, _) in itertools.pairwise(batches):
        assert next_inputs[:, 0].tolist() == targets[:, -1].tolist()


def test_dataset_types_and_shapes():
    ids = np.arange(100, dtype=np.int32)
    dataset = windows(ids, 4, 6)
    spec = tf.TensorSpec([4, 6], tf.int32)
    assert dataset.element_spec == (spec, spec)
    for inputs, targets in dataset:
        assert inputs.shape == targets.shape == (4, 6)
        assert inputs.dtype == targets.dtype == tf.int32


def test_dataset_streams():
    """The first window does not wait for the whole epoch to be read."""

    class Watched(np.ndarray):
        windows_read = 0

        def __getitem__(self, key):
            if isinstance(key, tuple):
                Watched.windows_read += 1
            return super().__getitem__(key)

    ids = np.arange(20_001, dtype=np.int32).view(Watched)
    next(iter(windows(ids, 2, 1)))
    assert 0 < Watched.windows_read < 1000


FAULTS_OF_A_BUFFER = """
import ctypes, resource
import numpy as np
from ptb_lm.training.input_pipeline import windows
list(windows(np.arange(100, dtype=np.int32), 2, 3))
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffer = libc.malloc(ctypes.c_size_t(1 << 22))
    ctypes.memset(buffer, 1, 1 << 22)
    libc.free(ctypes.c_void_p(buffer))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of its malloc")
def test_reading_leaves_the_allocator_as_it_is():
    """A buffer of 4 MiB is not faulted in anew each time it is asked for."""
    result = subprocess.run(
        [sys.executable, "-c", FAULTS_OF_A_BUFFER], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 100  # a buffer has 1,024 pages
