"""What is on disk of a run: its folder, checkpoints and results."""
