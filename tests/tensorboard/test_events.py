"""TensorBoard events: every point once, whatever happened to the process."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.tensorboard.board import AT_THE_END
from ptb_lm.tensorboard.curves import TEST, Curves, write_test_score
from ptb_lm.tensorboard.events import (
    FLOOR,
    RUN,
    TRAIN,
    VALID,
    Events,
    drop_events_after,
)
from ptb_lm.tensorboard.hparams import HParams
from tests.support.events import event_files, read_points, scores_of
from tests.support.results import RESULTS


def write(folder, steps, epochs, done=(), at_step=0, floor=None):
    """Writes as a process that resumes at a step, with some epochs done."""
    parts = (RUN, TRAIN, VALID) + (() if floor is None else (FLOOR,))
    events = Events(folder, at_step, done, parts)
    HParams(events, {}, "run")
    curves = Curves(events, floor, done)
    for step in steps:
        events.scalars(TRAIN, step, {"step/perplexity": float(step)})
    for scores in epochs:
        curves.after_epoch(scores)
    events.close()


def test_curves_and_tags(tmp_path):
    write(tmp_path / "run", [3, 6], [scores_of(1, 6)], floor=1.5)
    assert read_points(tmp_path / "run") == {
        (".", "_hparams_/experiment"): [(0,)],
        (".", "_hparams_/session_start_info"): [(0,)],
        (".", "step/perplexity"): [(3, 3.0), (6, 6.0)],
        (".", "epoch/perplexity"): [(1, 10.0)],
        (".", "summary/best_valid_perplexity"): [(1, 20.0)],
        ("valid", "epoch/perplexity"): [(1, 20.0)],
        ("valid", "step/perplexity"): [(6, 20.0)],
        ("floor", "epoch/perplexity"): [(1, 1.5)],
    }


def test_points_after_the_checkpoint_are_dropped(tmp_path):
    """A process wrote up to step 12 of epoch 3; its last checkpoint is of step 7."""
    epochs = [scores_of(1, 4), scores_of(2, 8)]
    write(tmp_path, range(2, 13, 2), epochs, floor=1.5)
    write(tmp_path, [8, 10, 12], epochs[1:], epochs[:1], at_step=7, floor=1.5)
    points = read_points(tmp_path)
    assert [s for s, _ in points[".", "step/perplexity"]] == [2, 4, 6, 8, 10, 12]
    assert [s for s, _ in points["valid", "step/perplexity"]] == [4, 8]
    for curve in (".", "valid", "floor"):
        assert [s for s, _ in points[curve, "epoch/perplexity"]] == [1, 2]


@pytest.mark.parametrize("ahead", [0, 3600])
def test_a_later_process_writes_a_later_file(tmp_path, ahead):
    """Though the clock was set back, or another began in the same second."""
    for step in (1, 2, 3):
        write(tmp_path, [step], [], at_step=step - 1)
        for path in event_files(tmp_path):  # as written by a clock that is ahead
            parts = path.name.split(".")
            parts[3] = str(int(parts[3]) + ahead)
            path.rename(path.with_name(".".join(parts)))
    write(tmp_path, [], [], at_step=3)
    steps = []
    for path in sorted(tmp_path.glob("*tfevents*")):  # as TensorBoard reads them
        records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        events = map(tf.compat.v1.Event.FromString, records)
        steps += [e.step for e in events if e.summary.value and e.step]
    assert steps == [1, 2, 3]


def test_a_run_that_goes_on_has_not_ended(tmp_path):
    """It was finished, and is given another epoch."""
    write(tmp_path, [4], [scores_of(1, 4)])
    events = Events(tmp_path, 4, [scores_of(1, 4)], (RUN,))
    HParams(events, {}, "run").after_training(1)
    events.scalars(RUN, 1, {TEST: 30.0})
    events.close()
    assert AT_THE_END[0] in {tag for _, tag in read_points(tmp_path)}
    before = read_points(tmp_path)
    Events(tmp_path, 4, [scores_of(1, 4)], (RUN, VALID), dropped=AT_THE_END).close()
    after = read_points(tmp_path)
    assert before.keys() - after.keys() == {(".", tag) for tag in AT_THE_END}
    assert after.items() <= before.items()


def test_texts_histograms_and_sessions_once(tmp_path):
    """Written by a process that is killed in epoch 2, and by one that goes on."""
    run = tmp_path / "run"
    for done in ([], [scores_of(1, 4)]):
        events = Events(run, 6 if done else 0, done, (RUN, TRAIN))
        session = HParams(events, {}, "run")
        for number in (2,) if done else (1, 2):
            values = {"weights/embedding": np.ones(5)}
            events.histograms(TRAIN, 4 * number, values)
            events.text(RUN, number, "epoch/samples", f"epoch {number}")
        session.after_training(2)
        events.close()
    points = read_points(run)
    assert [point[0] for point in points[".", "weights/embedding"]] == [4, 8]
    texts = [(1, b"epoch 1"), (2, b"epoch 2")]
    assert points[".", "epoch/samples"] == texts
    for name, at in (("experiment", 0), ("start_info", 0), ("end_info", 2)):
        (tag,) = (tag for _, tag in points if tag.endswith(name))
        assert points[".", tag] == [(at,)]


def test_a_run_of_version_0_1_goes_on_in_its_folders(tmp_path):
    """It has a folder for the training text."""
    (tmp_path / "train").mkdir()
    write(tmp_path, [3], [scores_of(1, 3)])
    write(tmp_path, [6], [], [scores_of(1, 3)], at_step=3)
    points = read_points(tmp_path)
    assert points["train", "step/perplexity"] == [(3, 3.0), (6, 6.0)]
    assert points["train", "epoch/perplexity"] == [(1, 10.0)]
    assert (".", "step/perplexity") not in points
    assert (".", "_hparams_/experiment") in points


def test_the_best_so_far_survives_a_resume(tmp_path):
    epochs = [scores_of(1, 4), scores_of(2, 8), scores_of(3, 12)]
    worse = [dataclasses.replace(e, valid_perplexity=50.0) for e in epochs]
    write(tmp_path, [], epochs[:1])
    write(tmp_path, [], [worse[1]], epochs[:1], at_step=4)
    write(tmp_path, [], [epochs[2]], [epochs[0], worse[1]], at_step=8)
    best = read_points(tmp_path)[".", "summary/best_valid_perplexity"]
    assert best == [(1, 20.0), (2, 20.0), (3, pytest.approx(20 / 3))]


def test_the_test_score_is_written_once(tmp_path):
    for _ in range(2):
        write_test_score(tmp_path, RESULTS)
    assert read_points(tmp_path) == {(".", TEST): [(2, 25.75)]}


def test_an_epoch_that_is_evaluated_again(tmp_path):
    """Its last step is in the checkpoint, its valid score is not."""
    write(tmp_path, [4], [scores_of(1, 4)])
    write(tmp_path, [], [scores_of(1, 4)], at_step=4)
    points = read_points(tmp_path)
    assert points["valid", "step/perplexity"] == [(4, 20.0)]
    assert points[".", "step/perplexity"] == [(4, 4.0)]


def test_a_record_cut_short_is_dropped(tmp_path):
    """At every length: what is whole before the cut stays, nothing else."""
    write(tmp_path / "whole", [1, 2, 3], [])
    (whole,) = (tmp_path / "whole").glob("*tfevents*")
    content = whole.read_bytes()
    ends = [0]
    while ends[-1] < len(content):
        size = int.from_bytes(content[ends[-1] : ends[-1] + 8], "little")
        ends.append(ends[-1] + 8 + 4 + size + 4)
    assert (
        ends[-1] == len(content) and len(ends) == 7
    )  # version, two records of HParams and three points
    folder = tmp_path / "cut" / "train"
    folder.mkdir(parents=True)
    path = folder / "events.out.tfevents.1.host"
    for length in range(ends[1], len(content), 5):
        path.write_bytes(content[:length])
        drop_events_after(folder, step=100, epochs=100)
        kept = max(end for end in ends if end <= length)
        assert path.read_bytes() == content[:kept], length
        assert sorted(folder.iterdir()) == [path]


def test_whole_files_are_not_touched(tmp_path):
    write(tmp_path, [1, 2], [scores_of(1, 2)])
    before = {p: (p.read_bytes(), p.stat().st_ino) for p in event_files(tmp_path)}
    drop_events_after(tmp_path, step=2, epochs=1)
    drop_events_after(tmp_path / "valid", step=2, epochs=1)
    after = {p: (p.read_bytes(), p.stat().st_ino) for p in event_files(tmp_path)}
    assert before == after


def test_a_killed_rewrite_leaves_nothing_for_tensorboard(tmp_path, monkeypatch):
    write(tmp_path, [1, 2, 3], [])
    before = event_files(tmp_path)
    monkeypatch.setattr(pathlib.Path, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drop_events_after(tmp_path, step=1, epochs=0)
    monkeypatch.undo()
    assert event_files(tmp_path) == before
    drop_events_after(tmp_path, step=1, epochs=0)
    assert event_files(tmp_path) == before
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert names == [path.name for path in before if path.parent == tmp_path]


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "events").write_text("not a folder")
    with pytest.raises(UserError, match="events") as caught:
        write(tmp_path / "events", [1], [])
    assert "\n" not in str(caught.value)
