"""Evaluation methods, and the one loop that drives them."""
