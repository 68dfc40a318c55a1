"""Results of a run that never was."""

from ptb_lm.runs.results import EpochScores, Results, SplitScores, TextRecord

EPOCHS = [
    EpochScores(1, 12, 1.0, 30.0, 25.0, 100.0, 2.0),
    EpochScores(2, 24, 0.5, 20.0, 26.0, 110.0, 4.0),
]
RESULTS = Results(
    model="small",
    corpus="made-up",
    vocabulary_size=8,
    parameters=100,
    seed=1,
    finished=True,
    epochs=EPOCHS,
    tokens_per_second=105.0,
    best_epoch=1,
    wall_seconds=4.5,
    resumed=1,
    texts={"train": TextRecord(900, 0.25, "abc"), "test": TextRecord(9, 0.0, "def")},
    last_weights=SplitScores(26.0, 26.5, 27.0),
    best_weights=SplitScores(25.0, 25.5, 25.75, 1.5, 1.75),
    versions={"numpy": "2"},
    machine={"cores": 2},
)
