"""Generates and scores text with an ONNX export, with onnxruntime and NumPy alone.

python examples/onnx_reader.py runs/small-ptb/onnx --prompt="the company said"
python examples/onnx_reader.py runs/small-ptb/onnx --text="the company said"
"""

import argparse
import hashlib
import json
import pathlib
import re
import sys

import numpy as np

try:
    import onnxruntime
except ModuleNotFoundError:
    sys.exit("onnx_reader.py: onnxruntime is missing (pip install onnxruntime)")

CHUNK = 256  # tokens that are scored at once: their scores take CHUNK * vocabulary


class Reader:
    """An ONNX export: model.onnx, and model.json, which says how to use it."""

    def __init__(self, folder):
        """Opens a folder; ValueError where it is not a whole export."""
        content = (folder / "model.onnx").read_bytes()
        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if facts["format"] not in (1, 2):
            raise ValueError(f"of format {facts['format']}, not 1 or 2")
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            raise ValueError("model.onnx is damaged, or not that of model.json")
        self.session = onnxruntime.InferenceSession(content)
        self.take_vocabulary(facts)

    def take_vocabulary(self, facts):
        """Takes the tokens and the rule that makes them, as model.json has them."""
        self.facts = facts
        self.tokens, self.line_end = facts["tokens"], facts["line_end_id"]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.words = facts["token_type"] == "word"
        self.bytes = facts["token_type"] == "byte"  # an id is a byte of UTF-8

    def encode(self, text, close_lines):
        """Ids of a text; close_lines ends the last line, as in a corpus."""
        if self.bytes:
            return list(text.encode())
        if self.facts["normalize"] == "letters":
            text = re.sub("[^A-Za-z]+", " ", text).lstrip(" ").lower()
        text = text.replace("\r\n", "\n")
        if self.words and close_lines and text and not text.endswith("\n"):
            text += "\n"
        if self.words and self.line_end is not None:
            text = text.replace("\n", f" {self.tokens[self.line_end]} ")
        tokens = text.split() if self.words else list(text)
        ids = [self.ids.get(token, self.facts["unknown_id"]) for token in tokens]
        return [index for index in ids if index is not None]

    def decode(self, ids):
        """The text of ids."""
        if self.bytes:
            return bytes(ids).decode(errors="replace")
        tokens = ["\n" if i == self.line_end else self.tokens[i] for i in ids]
        text = (" " if self.words else "").join(tokens)
        return re.sub(" ?\n ?", "\n", text) if self.words else text

    def step(self, ids, state=None):
        """Reads ids after a state: log-probabilities [tokens, vocabulary], state."""
        if state is None:
            width = sum(part["size"] for part in self.facts["state"])
            state = np.zeros([1, width], np.float32)
        inputs = {"ids": np.array([ids], np.int32), "state": state}
        scores, state = self.session.run(["log_probabilities", "next_state"], inputs)
        return scores[0], state

    def generate(self, prompt, num_tokens, temperature=1.0, top_k=0, seed=1):
        """Continues a prompt, which is read after a line end."""
        ids = [] if self.line_end is None else [self.line_end]
        ids += self.encode(prompt, close_lines=False)
        if not ids:
            raise ValueError("an empty prompt, and no line end to start from")
        scores, state = self.step(ids)
        generator, drawn = np.random.default_rng(seed), []
        for _ in range(num_tokens):
            scores = scores[-1].astype(np.float64)
            if self.facts["unknown_id"] is not None:
                scores[self.facts["unknown_id"]] = -np.inf
            likeliest = np.argsort(-scores, kind="stable")[: top_k or None]
            weights = np.exp(
                (scores - scores.max())[likeliest] / max(temperature, 1e-9)
            )
            drawn.append(int(generator.choice(likeliest, p=weights / weights.sum())))
            scores, state = self.step(drawn[-1:], state)
        start = 0 if self.line_end is None else 1
        return self.decode(ids[start:] + drawn)

    def score(self, text):
        """Tokens of a text and the nats of each, as a sentence after a line end."""
        ids = [] if self.line_end is None else [self.line_end]
        ids += self.encode(text, close_lines=True)
        nats, state = [], None
        for begin in range(0, len(ids) - 1, CHUNK):
            targets = ids[begin + 1 : begin + 1 + CHUNK]
            scores, state = self.step(ids[begin : begin + len(targets)], state)
            nats += (-scores[np.arange(len(targets)), targets]).tolist()
        return [self.tokens[index] for index in ids[1:]], nats


def main():
    """Runs the command line; returns the exit status. A mistake ends in one line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="with model.onnx")
    parser.add_argument("--text", help="score this text instead of generating")
    parser.add_argument("--prompt", default="", help="generate after this")
    parser.add_argument("--num_tokens", type=int, default=50)
    parser.add_argument("--temperature", type=float, default=0.8, help="0: likeliest")
    parser.add_argument("--top_k", type=int, default=40, help="0: all tokens")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        reader = Reader(options.folder)
    except Exception as error:  # files that are not ours make it raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{options.folder}: not an ONNX export of ptb_lm: {reason}"
        print(f"onnx_reader.py: {message}", file=sys.stderr)
        return 2
    if options.text is None:
        drawing = options.num_tokens, options.temperature, options.top_k, options.seed
        print(reader.generate(options.prompt, *drawing))
        return 0
    tokens, nats = reader.score(options.text)
    for token, value in zip(tokens, nats, strict=True):
        print(f"{token!r:20} {value:.4f}")
    print(f"perplexity {np.exp(np.mean(nats)):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
