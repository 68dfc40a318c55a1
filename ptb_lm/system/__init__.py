"""Files, signals, progress, memory, the start of TensorFlow."""
