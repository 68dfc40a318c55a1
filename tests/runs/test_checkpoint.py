"""Checkpoints: whole, or found to be damaged; never executed."""

import contextlib
import io
import json
import os
import pathlib
import pickle
import random
import re
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.runs.checkpoint import FORMAT, CheckpointFolder, assign
from ptb_lm.system import files
from tests.support.checkpoints import (
    put,
)


def state(step):
    rng = np.random.default_rng(step)
    return {
        "model/kernel": rng.normal(size=(40, 30)).astype(np.float32),
        "state/0/h": rng.normal(size=(3, 5)).astype(np.float32),
    }


def assert_is_state(checkpoint, step):
    expected = state(step)
    assert checkpoint.metadata == {"step": step}
    assert checkpoint.arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert checkpoint.arrays[name].tobytes() == array.tobytes()
        assert checkpoint.arrays[name].dtype == array.dtype


@pytest.fixture
def folder(tmp_path):
    """Checkpoints after steps 10 (the best), 20 and 30."""
    checkpoints = CheckpointFolder(tmp_path)
    for step in (10, 20, 30):
        checkpoints.save(step, state(step), {"step": step}, best=step == 10)
    return checkpoints


def names(path):
    return sorted(re.sub(r"-[0-9a-f]{32}", "", p.name) for p in path.iterdir())


def archive(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_last_two_and_best_are_kept(folder, tmp_path):
    assert names(tmp_path) == [
        "best-00000010.npz",
        "last-00000020.npz",
        "last-00000030.npz",
    ]
    assert_is_state(folder.load("last"), 30)
    assert_is_state(folder.load("best"), 10)


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_asked_for(tmp_path, keep):
    checkpoints = CheckpointFolder(tmp_path)
    for step in (10, 20, 30, 40):
        checkpoints.save(step, state(step), {}, best=step == 10, keep=keep)
    kept = [f"last-000000{step}.npz" for step in (10, 20, 30, 40)[-keep:]]
    assert names(tmp_path) == ["best-00000010.npz", *kept]


def test_nothing_there(tmp_path):
    assert CheckpointFolder(tmp_path).load("last") is None
    assert CheckpointFolder(tmp_path / "absent").load("best") is None


def damaged_versions(content):
    """(what was done, content): every way of damage that the project promises."""
    for tenth in range(10):
        yield f"cut at {tenth} tenths", content[: len(content) * tenth // 10]
    yield "one byte short", content[:-1]
    yield "one byte more", content + b"\0"
    for page in range(0, len(content), 4096):
        zeros = b"\0" * len(content[page : page + 4096])
        yield f"zeros at {page}", content[:page] + zeros + content[page + 4096 :]
    for page in range(0, len(content), 4096):
        yield f"no page at {page}", content[:page] + content[page + 4096 :]
    generator = random.Random(1)
    for _ in range(200):
        bit = generator.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(flipped)


def test_all_damage_is_found_and_named(folder, tmp_path):
    (newest,) = tmp_path.glob("last-00000030-*")
    content = newest.read_bytes()
    assert len(content) > 4096
    for what, damaged in damaged_versions(content):
        newest.write_bytes(damaged)
        with pytest.warns(UserWarning, match=re.escape(str(newest))):
            found = folder.load("last")
        assert found.metadata == {"step": 20}, what
    newest.unlink()
    assert_is_state(folder.load("last"), 20)


def test_links_and_folders_of_that_name(folder, tmp_path):
    """They are passed over; a link that leads to a checkpoint is one."""
    (newest,) = tmp_path.glob("last-00000030-*")
    newest.rename(tmp_path / "elsewhere")
    newest.symlink_to(tmp_path / "nowhere")
    (tmp_path / f"last-00000040-{'0' * 32}.npz").mkdir()
    assert_is_state(folder.load("last"), 20)
    newest.unlink()
    newest.symlink_to(tmp_path / "elsewhere")
    assert_is_state(folder.load("last"), 30)


def test_all_damaged(folder, tmp_path):
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-1])
    for kind, count in (("last", 2), ("best", 1)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(UserError, match=f"every '{kind}' checkpoint"):
                folder.load(kind)
        assert len(caught) == count


def test_a_damaged_one_does_not_push_out_good_ones(folder, tmp_path):
    """Fallback to step 20; of what is saved from there on, two stay."""
    (newest,) = tmp_path.glob("last-00000030-*")
    newest.write_bytes(b"")
    with pytest.warns(UserWarning):
        assert_is_state(folder.load("last"), 20)
    folder.save(35, state(35), {"step": 35})
    assert names(tmp_path)[1:] == ["last-00000020.npz", "last-00000035.npz"]
    assert_is_state(folder.load("last"), 35)


def test_saving_a_step_again_replaces_it(folder, tmp_path):
    """Same step, other metadata: the one written last is the one that counts."""
    for attempt in range(8):
        folder.save(30, state(30), {"step": 30, "attempt": attempt}, best=True)
        assert folder.load("last").metadata["attempt"] == attempt
        assert folder.load("best").metadata["attempt"] == attempt
        assert names(tmp_path) == [
            "best-00000030.npz",
            "last-00000020.npz",
            "last-00000030.npz",
        ]


def test_leftovers_of_a_killed_writer_are_removed(folder, tmp_path):
    for name in ("pending.npz", ".pending.npz.a1b2", f".best-1-{'0' * 32}.npz.zz"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    assert_is_state(folder.load("last"), 30)
    folder.save(40, state(40), {"step": 40})
    assert names(tmp_path) == [
        "best-00000010.npz",
        "last-00000030.npz",
        "last-00000040.npz",
        "notes.txt",
    ]


SPRUNG = []


class Trap:
    """Unpickling this would leave a trace in SPRUNG."""

    def __reduce__(self):
        return spring, ("executed",)


def spring(trace):
    SPRUNG.append(trace)


def metadata(text):
    return np.frombuffer(text.encode(), np.uint8)


def compressed_archive():
    stream = io.BytesIO()
    np.savez_compressed(stream, zeros=np.zeros(10**6), metadata=metadata("{}"))
    return stream.getvalue()


def archive_with_header(header):
    """An archive whose array has a header of one's own choice, and no data."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        text = header.encode() + b"\n"
        size = len(text).to_bytes(2, "little")
        file.writestr("model/kernel.npy", b"\x93NUMPY\x01\x00" + size + text)
    return stream.getvalue()


BAD_CONTENT = {
    "empty": b"",
    "text": b"not an archive",
    "pickle": pickle.dumps(Trap()),
    "pickled array": archive(w=np.array([Trap()], object), metadata=metadata("{}")),
    "one bare array": (lambda s: (np.save(s, np.ones(3)), s.getvalue())[1])(
        io.BytesIO()
    ),
    "no metadata": archive(w=np.ones(3)),
    "metadata not JSON": archive(metadata=metadata("{")),
    "metadata not UTF-8": archive(metadata=np.array([255, 254, 0], np.uint8)),
    "metadata no object": archive(metadata=metadata("[1]")),
    "metadata nested": archive(metadata=metadata("[" * 10**5)),
    "compressed": compressed_archive(),
    "huge": archive_with_header(
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**60},)}}"
    ),
    "header": archive_with_header("{'descr': '<f4', 'fortran_order"),
    "header calls": archive_with_header("__import__('os').mkdir('/tmp/x')"),
}


@pytest.mark.parametrize("content", BAD_CONTENT.values(), ids=BAD_CONTENT.keys())
def test_right_digest_but_bad_content(folder, tmp_path, content):
    bad = put(tmp_path, "last", 40, content)
    with pytest.warns(UserWarning, match=re.escape(str(bad))) as caught:
        assert_is_state(folder.load("last"), 30)
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert not SPRUNG


def with_format(number, **arrays):
    return archive(metadata=metadata(json.dumps({"step": 40} | number)), **arrays)


def test_a_checkpoint_has_the_number_of_its_format(folder, tmp_path):
    (path,) = tmp_path.glob("last-00000030-*")
    with np.load(path) as archive:
        written = json.loads(archive["metadata"].tobytes())
    assert written["format"] == FORMAT == 1
    assert "format" not in folder.load("last").metadata


def test_a_checkpoint_without_a_number_is_of_format_1(folder, tmp_path):
    put(tmp_path, "last", 40, with_format({}, w=np.ones(3)))
    assert folder.load("last").metadata == {"step": 40}


@pytest.mark.parametrize("arrays", [{"w": np.ones(3)}, {"w": np.array([Trap()])}])
def test_a_newer_format_is_named_and_nothing_older_is_used(folder, tmp_path, arrays):
    """Whatever else is in it."""
    path = put(tmp_path, "last", 40, with_format({"format": 2}, **arrays))
    with pytest.raises(UserError, match="a newer version of ptb_lm wrote it") as caught:
        folder.load("last")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert_is_state(folder.load("best"), 10)
    assert not SPRUNG


@pytest.mark.parametrize("number", ["2", 0, -1, 1.5, True, None, [1], 10**30])
def test_a_format_that_is_no_number(folder, tmp_path, number):
    path = put(tmp_path, "last", 40, with_format({"format": number}, w=np.ones(3)))
    if number == 10**30:
        with pytest.raises(UserError, match="newer version"):
            folder.load("last")
        return
    with pytest.warns(UserWarning, match=re.escape(str(path))):
        assert_is_state(folder.load("last"), 30)


def test_a_failed_write_leaves_what_was_there(folder, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("fsync", "replace", "link", "chmod"):

        def fail(*arguments):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            if name == "link":  # without links, a copy; which does not fit either
                patched.setattr("shutil.copyfileobj", fail)
            with pytest.raises(UserError, match="No space left on device"):
                folder.save(40, state(40), {"step": 40}, best=True)
        for path, content in before.items():
            assert path.read_bytes() == content
        assert_is_state(folder.load("last"), 30)
    folder.save(50, state(50), {"step": 50}, best=True)
    assert names(tmp_path) == [
        "best-00000050.npz",
        "last-00000030.npz",
        "last-00000050.npz",
    ]


@pytest.mark.parametrize("number", [1, 38, 95])  # EPERM, ENOSYS, EOPNOTSUPP
def test_a_file_system_without_hard_links(folder, tmp_path, monkeypatch, number):
    def link(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    folder.save(40, state(40), {"step": 40}, best=True)
    assert_is_state(folder.load("best"), 40)
    assert_is_state(folder.load("last"), 40)


def test_a_removed_run_folder_is_not_made_again(tmp_path):
    run = tmp_path / "run"
    checkpoints = CheckpointFolder(run / "checkpoints")
    with pytest.raises(UserError, match=r"cannot write: No such file"):
        checkpoints.save(1, state(1), {})
    assert not run.exists()


def test_assign_sets_all_or_nothing():
    def variables():
        return {"a": tf.Variable(np.zeros(3, np.float32)), "b": tf.Variable([0.0])}

    good = {"a": np.ones(3, np.float32), "b": np.ones(1, np.float32)}
    for change, message in (
        ({"b": np.ones(2, np.float32)}, r"its b is float32 \[2\]"),
        ({"b": np.ones(1, np.float64)}, "its b is float64"),
        ({"b": np.array(["x"])}, "its b is"),
        ({"c": np.ones(1, np.float32)}, "the model has no c"),
        ({"b": None}, "the checkpoint has no b"),
    ):
        ours = variables()
        arrays = {n: a for n, a in (good | change).items() if a is not None}
        with pytest.raises(UserError, match=message):
            assign(ours, arrays)
        assert not ours["a"].numpy().any()
    ours = variables()
    assign(ours, good)
    assert ours["a"].numpy().all()


class TestFiles:
    """`files.write_atomically` and its readers."""

    def test_replaces_whole_files_only(self, tmp_path):
        path = tmp_path / "file"
        files.write_text(path, "first")

        def half(file):
            file.write(b"half")
            raise OSError(28, "No space left on device")

        with pytest.raises(UserError, match="No space left"):
            files.write_atomically(path, half)
        with pytest.raises(ZeroDivisionError):
            files.write_atomically(path, lambda file: 1 / 0)
        assert path.read_text() == "first"
        assert list(tmp_path.iterdir()) == [path]

    def test_mode_follows_the_umask(self, tmp_path):
        previous = os.umask(0o027)
        try:
            files.write_json(tmp_path / "file", {"é": [1]})
        finally:
            os.umask(previous)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
        assert json.loads((tmp_path / "file").read_text("utf-8")) == {"é": [1]}

    @pytest.mark.parametrize("exchange", ["of the system", "of none"])
    def test_replaces_folders(self, tmp_path, monkeypatch, exchange):
        """At once where the system can; the one that was there is where it was."""
        if exchange == "of none":
            monkeypatch.setattr(files, "_exchange", lambda *_: False)
        path, new = tmp_path / "folder", tmp_path / "aside"
        for content in ("first", "second"):
            new.mkdir(exist_ok=True)
            for old in new.iterdir():
                old.unlink()
            (new / content).touch()
            files.replace_folder(path, new)
            assert [p.name for p in path.iterdir()] == [content]
        assert [p.name for p in new.iterdir()] == ["first"]
        assert sorted(tmp_path.iterdir()) == [new, path]
        with pytest.raises(OSError):
            files.replace_folder(path, tmp_path / "absent")
        assert [p.name for p in path.iterdir()] == ["second"]

    def test_exchange(self, tmp_path):
        """Linux has it, on the usual file systems."""
        if sys.platform != "linux":
            pytest.skip("renameat2 is of Linux")
        for name in "ab":
            (tmp_path / name).write_text(name)
        assert files._exchange(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "a").read_text() == "b"
        assert not files._exchange(tmp_path / "a", tmp_path / "absent")
        assert (tmp_path / "a").read_text() == "b"

    def test_reasons_are_one_short_line(self):
        node = "{{function_node __wrapped__SaveV2_device_/job:localhost}} "
        for error, expected in (
            (OSError(28, "No space left on device", "/a"), "No space left on device"),
            (ValueError("one\ntwo"), "one"),
            (ValueError(), "ValueError"),
            (
                tf.errors.UnknownError(None, None, node + "/a; Too large [Op:SaveV2]"),
                "/a; Too large",
            ),
        ):
            assert files.reason(error) == expected

    def test_absent_folder(self, tmp_path):
        with pytest.raises(UserError, match="No such file or directory"):
            files.write_text(tmp_path / "absent" / "file", "text")

    def test_a_file_that_is_too_large(self, tmp_path):
        """It has a hole of a terabyte, of which nothing is read."""
        with (tmp_path / "file").open("wb") as file:
            file.truncate(10**12)
        with pytest.raises(UserError, match="file: larger than 1,073,741,824 bytes"):
            files.read_text(tmp_path / "file")

    def test_a_pipe_is_read_only_where_it_is_asked_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UserError, match="pipe: cannot read: no regular file"):
            files.read_text(tmp_path / "pipe")
        endless = pathlib.Path("/dev/zero")
        with pytest.raises(UserError, match="/dev/zero: larger than 10,000,000 bytes"):
            files.read_text(endless, may_be_stream=True, max_bytes=10**7)

    def test_not_utf8_names_the_line(self, tmp_path):
        (tmp_path / "file").write_bytes(b"one\ntwo\n\xe9t\xe9\n")
        with pytest.raises(UserError, match=r"file, line 3: not UTF-8"):
            files.read_text(tmp_path / "file")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a file system is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(small_disk):
    """Each state takes 5 KiB: at some point there is no room, and room again."""
    checkpoints = CheckpointFolder(small_disk / "checkpoints")
    for step in (10, 20):
        checkpoints.save(step, state(step), {"step": step}, best=step == 10)
    ballast = small_disk / "ballast"
    for kept in range(0, 50_000, 4096):
        with ballast.open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
            file.truncate(max(os.path.getsize(ballast) - kept, 0))
        try:
            checkpoints.save(30, state(30), {"step": 30}, best=True)
            break
        except UserError as error:
            assert str(error).endswith("No space left on device")
        assert_is_state(checkpoints.load("last"), 20)
        assert_is_state(checkpoints.load("best"), 10)
        with pytest.raises(UserError, match="No space left on device"):
            files.write_json(small_disk / "results.json", "x" * (kept + 4096))
    assert kept > 0
    assert_is_state(checkpoints.load("best"), 30)
    assert names(small_disk / "checkpoints") == [
        "best-00000030.npz",
        "last-00000020.npz",
        "last-00000030.npz",
    ]


def test_a_disk_that_turns_read_only(small_disk):
    checkpoints = CheckpointFolder(small_disk / "checkpoints")
    checkpoints.save(10, state(10), {"step": 10})
    (small_disk / "checkpoints" / "pending.npz").write_text("half")
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(UserError, match="cannot write: Read-only file system"):
        checkpoints.save(20, state(20), {"step": 20})
    assert_is_state(checkpoints.load("last"), 10)
