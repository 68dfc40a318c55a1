"""The formats that a trained model is written in."""
