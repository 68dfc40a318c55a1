"""A trained model with its vocabulary: text in, text and scores out."""
