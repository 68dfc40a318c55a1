"""Completes words with a LiteRT export, as the keyboard of a phone does.

    python examples/litert_keyboard.py runs/small-ptb/litert "the company sa"

It needs NumPy and LiteRT (`pip install ai-edge-litert`).
"""

import argparse
import hashlib
import json
import pathlib
import sys

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError:
    sys.exit("litert_keyboard.py: LiteRT is missing (pip install ai-edge-litert)")


class Keyboard:
    """A LiteRT export: model.tflite, and model.json, which says how to use it."""

    def __init__(self, folder):
        """Opens a folder; ValueError where it is not a whole export of words."""
        path = folder / "model.tflite"
        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if facts["format"] not in (1, 2):
            raise ValueError(f"of format {facts['format']}, not 1 or 2")
        if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
            raise ValueError("model.tflite is damaged, or not that of model.json")
        if facts["token_type"] != "word":
            raise ValueError("its tokens are characters or bytes, not words")
        # The interpreter keeps the file mapped and reads the weights where they are.
        self.step = Interpreter(str(path)).get_signature_runner()
        self.tokens, self.line_end = facts["tokens"], facts["line_end_id"]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.unknown, self.letters = facts["unknown_id"], facts["normalize"] != "none"
        self.width = sum(part["size"] for part in facts["state"])
        self.start()

    def start(self):
        """Begins a text, after a line end."""
        self.state, self.scores = np.zeros([1, self.width], np.float32), None
        if self.line_end is not None:
            self.read(self.line_end)

    def read(self, index):
        """Reads the id of a word, and keeps the scores of the next."""
        ids = np.array([[index]], np.int32)
        result = self.step(ids=ids, state=self.state)
        self.state, self.scores = result["state"], result["log_probabilities"][0, 0]

    def type(self, text, count):
        """The likeliest words that a text may end in, with their probabilities.

        The last word may be unfinished; after a space the next word is completed.
        """
        if self.line_end is not None:
            text = text.replace("\n", f" {self.tokens[self.line_end]} ")
        words = (text.lower() if self.letters else text).split(" ")
        self.start()
        for word in filter(None, words[:-1]):
            index = self.ids.get(word, self.unknown)
            if index is not None:
                self.read(index)
        if self.scores is None:  # no word yet, and no line end in the vocabulary
            self.scores = np.zeros(len(self.tokens), np.float32)
        fitting = [
            index
            for index, token in enumerate(self.tokens)
            if token.startswith(words[-1])
            and index not in (self.unknown, self.line_end)
        ]
        fitting.sort(key=lambda index: -self.scores[index])
        return [
            (self.tokens[i], float(np.exp(self.scores[i]))) for i in fitting[:count]
        ]


def main():
    """Runs the command line; returns the exit status. A mistake ends in one line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="with model.tflite")
    parser.add_argument("text", help="what was typed so far")
    parser.add_argument("--count", type=int, default=3, help="words to offer")
    options = parser.parse_args()
    try:
        keyboard = Keyboard(options.folder)
    except Exception as error:  # files that are not ours make it raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{options.folder}: not a LiteRT export of ptb_lm: {reason}"
        print(f"litert_keyboard.py: {message}", file=sys.stderr)
        return 2
    for word, probability in keyboard.type(options.text, options.count):
        print(f"{word:20} {probability:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
