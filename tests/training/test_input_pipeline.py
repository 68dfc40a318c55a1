"""The `tf.data` stream gives the windows of a text, as they are asked for."""

import gc
import itertools
import pathlib
import platform
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.data.windows import RandomWindows, SequentialWindows, training_windows
from ptb_lm.training.input_pipeline import WindowStream
from tests.support.arithmetic import make_config
from tests.support.windows import all_windows, as_lists, random_windows, streams

# Building a tf.data.Dataset takes tens of milliseconds.
with_tensorflow = settings(max_examples=25, deadline=None)
KINDS = [{}, {"windows": "random"}, {"window_lengths": "random"}]


def test_random_windows_as_a_dataset():
    ids = np.arange(500, dtype=np.int32)
    batches = WindowStream(RandomWindows(ids, 3, 7, seed=1)).start_at(5, 2)
    assert as_lists(batches) == as_lists(random_windows(ids, 3, 7, (1, 5), start=2))


@with_tensorflow
@given(streams(), st.integers(0, 3))
def test_dataset_equals_the_windows(stream, start):
    windows = WindowStream(SequentialWindows(*stream))
    batches = list(windows.start_at(0, start))
    assert as_lists(batches) == as_lists(all_windows(*stream, start))
    # A second iteration of the same dataset begins at the same place.
    assert as_lists(windows.dataset) == as_lists(batches)


def test_a_stream_begins_where_it_is_told_each_time():
    stream = np.arange(50, dtype=np.int32), 2, 3
    windows = WindowStream(SequentialWindows(*stream))
    for start in (3, 0, 5):
        expected = as_lists(all_windows(*stream, start))
        assert as_lists(windows.start_at(0, start)) == expected


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_window_alone_is_that_of_the_stream(options):
    ids = np.arange(500, dtype=np.int32)
    windows = training_windows(ids, make_config(num_steps=7, **options).training)
    stream = WindowStream(windows)
    for epoch in (0, 2, 1):
        streamed = as_lists(stream.start_at(epoch, 0))
        alone = [windows.read(epoch, n) for n in range(windows.count(epoch))]
        assert as_lists(alone) == streamed


def test_an_abandoned_iterator_does_not_move_the_next():
    """As where a run is interrupted in mid-epoch, with windows read ahead."""
    windows = WindowStream(SequentialWindows(np.arange(500, dtype=np.int32), 3, 7))
    whole = as_lists(windows.start_at(0, 0))
    next(windows.start_at(0, 5))
    assert as_lists(windows.start_at(0, 0)) == whole


def test_epochs_leave_no_python_objects_behind():
    windows = WindowStream(SequentialWindows(np.arange(100, dtype=np.int32), 2, 3))
    counts = []
    gc.freeze()  # what other tests have made need not be looked through each time
    for epoch in range(60):
        list(windows.start_at(epoch, 0))
        gc.collect()
        counts.append(len(gc.get_objects()))
    gc.unfreeze()
    assert counts[-1] <= counts[20] + 5


@with_tensorflow
@given(streams())
def test_dataset_keeps_the_stream_invariant(stream):
    batches = as_lists(WindowStream(SequentialWindows(*stream)).dataset)
    for (_, targets), (next_inputs, _) in itertools.pairwise(batches):
        assert [row[0] for row in next_inputs] == [row[-1] for row in targets]


def test_dataset_types_and_shapes():
    ids = np.arange(100, dtype=np.int32)
    dataset = WindowStream(SequentialWindows(ids, 4, 6)).dataset
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
    next(WindowStream(SequentialWindows(ids, 2, 1)).start_at(0, 0))
    assert 0 < Watched.windows_read < 1000


FAULTS_OF_A_BUFFER = """
import ctypes, resource
import numpy as np
from ptb_lm.data.windows import SequentialWindows
from ptb_lm.training.input_pipeline import WindowStream
windows = SequentialWindows(np.arange(100, dtype=np.int32), 2, 3)
list(WindowStream(windows).start_at(0, 0))
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffer = libc.malloc(ctypes.c_size_t(1 << 22))
    ctypes.memset(buffer, 1, 1 << 22)
    libc.free(ctypes.c_void_p(buffer))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of its malloc")
def test_reading_leaves_the_allocator_as_it_is():
    """A buffer of 4 MiB is not faulted in anew each time it is asked for."""
    result = subprocess.run(
        [sys.executable, "-c", FAULTS_OF_A_BUFFER], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 100  # a buffer has 1,024 pages


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_tunes_the_dataset():
    """Where an iterator is deleted, TensorFlow joins that thread, at times a minute."""
    dataset = WindowStream(SequentialWindows(np.arange(100), 2, 4)).dataset
    options = tf.data.Options()
    options.autotune.enabled = True
    tuned = dataset.with_options(options)

    def threads(dataset):
        iterator = iter(dataset)
        next(iterator)
        return len(list(pathlib.Path("/proc/self/task").iterdir()))

    threads(tuned)  # starts TensorFlow's pools
    assert threads(dataset) == threads(tuned) - 1
