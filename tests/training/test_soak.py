"""A long run takes no more memory, and holds no more files, than a short one."""

import os
import pathlib

import pytest

from ptb_lm.training import finish, trainer
from tests.support.made_up import train

EPOCHS = 2000
# The history: figures of each epoch, as Python's numbers and as text.
BYTES_AN_EPOCH = 4000


def resident_bytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_soak(tmp_path, monkeypatch):
    """With checkpoints in mid-epoch, points, evaluation and results."""
    measured, finish_epoch = {}, trainer.Trainer._finish_epoch

    def measure(self):
        finish_epoch(self)
        held = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        measured[self._position.epoch] = resident_bytes(), *held

    monkeypatch.setattr(trainer.Trainer, "_finish_epoch", measure)
    monkeypatch.setattr(finish, "export_run", lambda *_: None)
    results = train(
        tmp_path / "run", max_max_epoch=EPOCHS, max_epoch=EPOCHS, learning_rate=0.01
    )
    assert len(results.epochs) == EPOCHS
    for epoch in (1, 100, EPOCHS // 4, EPOCHS // 2, EPOCHS):
        print(epoch, *measured[epoch])
    early = max(measured[epoch][0] for epoch in range(100, EPOCHS // 4))
    late = max(measured[epoch][0] for epoch in range(EPOCHS * 3 // 4, EPOCHS))
    assert late - early < BYTES_AN_EPOCH * EPOCHS
    assert measured[EPOCHS][1:] == measured[100][1:]
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) <= 3
    assert len(list((tmp_path / "run").rglob("*tfevents*"))) == 3
