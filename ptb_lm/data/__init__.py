"""Text as token ids in NumPy arrays: no TensorFlow."""
