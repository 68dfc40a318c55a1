"""Work on shards, in this process or in one of its own.

    python -m ptb_lm.data.shard_worker

The process reads a task from each line of standard input, as JSON, and writes the
result to a line of standard output. It ends with its input, and so with the command
that started it.
"""

import contextlib
import json
import pathlib
import signal
import sys
from typing import Any

from ptb_lm.data.shards import encode_shard, piece_of, write_ids
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError

DAMAGED = (ValueError, LookupError, TypeError, RecursionError)


class Worker:
    """Does tasks.

    A task is a dictionary that JSON can hold, with `name` and the arguments; so is a
    result. A mistake of the user is in a result as `mistake`, what the disk refuses as
    `refusal`.
    """

    def __init__(self) -> None:
        self._vocabulary: tuple[str, Vocabulary] | None = None

    def do(self, task: dict[str, Any]) -> dict[str, Any]:
        """Does a task, and returns its result."""
        try:
            return self._encode(task) if task["name"] == "encode" else self._write(task)
        except UserError as error:
            return {"mistake": str(error)}
        except OSError as error:
            return {"refusal": str(error)}

    def _encode(self, task: dict[str, Any]) -> dict[str, Any]:
        """See `encode_shard`."""
        rules = TokenRules(*task["rules"])
        shard = encode_shard(
            pathlib.Path(task["folder"]),
            piece_of(task["piece"]),
            rules,
            task["fingerprint"],
        )
        is_blank = all(map(rules.is_blank, shard.tokens))
        return {"key": shard.key, "tokens": shard.num_tokens, "is_blank": is_blank}

    def _write(self, task: dict[str, Any]) -> dict[str, Any]:
        """See `write_ids`; the vocabulary is in a file, which is read once."""
        if not self._vocabulary or self._vocabulary[0] != task["vocabulary"]:
            vocabulary = Vocabulary.load(pathlib.Path(task["vocabulary"]))
            self._vocabulary = task["vocabulary"], vocabulary
        folder, path = pathlib.Path(task["folder"]), pathlib.Path(task["path"])
        try:
            replaced, unknown = write_ids(
                folder, task["key"], self._vocabulary[1], path, task["first"]
            )
        except DAMAGED as error:  # since it was made sure that it is whole
            raise OSError(f"{folder}: {task['key']} is damaged") from error
        return {"replaced": replaced, "unknown": unknown}


def main() -> None:
    """Does the tasks of standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, for the command
    worker = Worker()
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            print(json.dumps(worker.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
