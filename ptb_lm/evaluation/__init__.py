"""Methods of scoring a text, and the one loop that they go through."""
