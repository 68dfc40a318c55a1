"""Makes the data of this folder with an older revision; see README.md.

    python tests/compatibility/make_data.py CHECKOUT

CHECKOUT is the older revision's. Only its command line and public files are used,
so that the functions here measure any later revision as well.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import platform
import random
import re
import shutil
import subprocess
import sys
import tarfile
import time

import numpy as np

HERE = pathlib.Path(__file__).parent
SENTENCE = ["the a", "cat dog bird <unk>", "sat ran", "on under", "the", "mat tree"]
STEPS_AN_EPOCH = 60
STOPPED_AFTER = 70  # steps: in the middle of epoch 2 of 3
COMMON = [
    "--model=test",
    "--data_path=corpus",  # relative, so that no folder of one machine is recorded
    "--hidden_size=6",
    "--batch_size=4",
    "--num_steps=3",
    "--init_scale=0.3",
    "--max_grad_norm=5",
    "--max_epoch=2",
    "--max_max_epoch=3",
    f"--save_every_steps={STOPPED_AFTER}",
    "--log_every_steps=10",
]
SETTINGS = {
    "sgd": ["--num_layers=2", "--keep_prob=0.7", "--sample_tokens=4"],
    "adam": [
        "--optimizer=adam",
        "--learning_rate=0.01",
        "--cell=gru",
        "--tied",
        "--windows=random",
        "--keep_prob=0.8",
        "--sample_tokens=0",
    ],
}
# What tests read of a run.
KEPT = ["flags.txt", "vocabulary.json", "results.json", "checkpoints"]
KEPT += ["train", "valid", "events.*", "model.keras", "saved_model.tar.xz"]
TEXTS = ["the cat sat on the mat\na dog ran", "a bird nowhere", "", "tree"]
IDS = [[3, 1, 4, 1, 5, 9, 2, 6], [0, 2, 7, 1, 8, 2, 8, 11]]
NATS = re.compile(r"\(([\d.]+) nats .*; ([\d,]+) tokens")


def machine():
    """What rounding depends on: equal here and there, equal to the bit."""
    import tensorflow as tf

    cpu = pathlib.Path("/proc/cpuinfo")
    lines = cpu.read_text().split("\n\n")[0].splitlines() if cpu.exists() else []
    pairs = [line.partition(":")[::2] for line in lines]
    facts = {name.strip(): text.strip() for name, text in pairs}
    flags = " ".join(sorted(facts.get("flags", "").split()))
    return {
        "processor": facts.get("model name", platform.processor()),
        "kind": [facts.get(name) for name in ("cpu family", "model", "stepping")],
        "instructions": hashlib.sha256(flags.encode()).hexdigest()[:16],
        "threads": len(os.sched_getaffinity(0)),
        "tensorflow": tf.__version__,
        "settings": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("TF_NUM", "OMP_", "ONEDNN_", "DNNL_", "TF_ENABLE"))
        },
    }


def write_corpus(folder):
    """Sentences of random words, always the same ones."""
    generator = random.Random(1)
    folder.mkdir(exist_ok=True)
    tokens = 4 * (3 * STEPS_AN_EPOCH + 1)
    for split, count in (("train", tokens), ("valid", 120), ("test", 60)):
        words = []
        while len(words) < count - 1:
            words += [generator.choice(place.split()) for place in SENTENCE]
            words.append("\n")  # a token, too
        text = " ".join(words[: count - 1]).strip() + "\n"
        (folder / f"{split}.txt").write_text(text.replace(" \n ", "\n"))


def printed(main, *arguments):
    """What a command prints; it must succeed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(list(map(str, arguments))) == 0
    return output.getvalue()


def evaluated(main, run, corpus):
    """Nats a token and number of tokens, by what is evaluated."""
    command = ["--mode=evaluate", f"--save_path={run}", f"--data_path={corpus}"]
    choices = {
        "test": ["--split=test"],
        "valid, the tutorial's way": ["--split=valid", "--counting=tutorial"],
    }
    scores = {}
    for name, options in choices.items():
        found = NATS.search(printed(main, *command, *options))
        scores[name] = [float(found[1]), int(found[2].replace(",", ""))]
    return scores


def scored_text(main, path):
    """What --mode=score says of a text; the path is a run or a SavedModel."""
    command = ["--mode=score", f"--save_path={path}", "--format=json", "--each_line"]
    return json.loads(printed(main, *command, f"--text={TEXTS[1]}"))


def sampled_texts(main, path):
    """What --mode=sample writes; the path is a run or a SavedModel."""
    lines = printed(
        main,
        "--mode=sample",
        f"--save_path={path}",
        "--prompt=the cat",
        "--num_tokens=20",
        "--num_samples=2",
        "--temperature=0.8",
        "--top_k=8",
        "--seed=7",
        "--format=json",
    )
    return [json.loads(line) for line in lines.splitlines()]


def saved_model_numbers(path):
    """What the SavedModel's functions return, under TensorFlow alone."""
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    scored = model.score(TEXTS)["log_probabilities"]
    drawn = model.generate(TEXTS, num_tokens=15, temperature=0.9, top_p=0.9, seed=3)
    likeliest = model.next_tokens(TEXTS, k=3)["probabilities"]
    return {
        "log_probabilities": scored.numpy().tolist(),
        "texts": [text.decode() for text in drawn["texts"].numpy()],
        "next_probabilities": likeliest.numpy().tolist(),
    }


def keras_logits(path):
    """The Keras file's logits on `IDS`, float32 [batch, time, vocabulary]."""
    import keras

    import ptb_lm.model  # noqa: F401  registers the class that the file names

    logits, _ = keras.saving.load_model(path)(np.array(IDS, np.int32))
    return logits.numpy().tolist()


def measure(main, runs, corpus):
    """Every number that a later revision must give for the finished runs.

    Args:
      main: the command line, as a function of its arguments.
      runs: folder of the finished runs, their exports unpacked.
      corpus: folder of the corpus.
    """
    run = runs / "sgd"
    return {
        "evaluate": {name: evaluated(main, runs / name, corpus) for name in SETTINGS},
        "score": scored_text(main, run),
        "sample": sampled_texts(main, run),
        "saved_model": saved_model_numbers(run / "saved_model"),
        "keras": keras_logits(run / "model.keras"),
    }


def start_and_kill(command, run):
    """Kills a training once the checkpoint that is wanted is its last."""
    checkpoints, wanted = run / "checkpoints", f"last-{STOPPED_AFTER:08d}-"
    process = subprocess.Popen(command, cwd=HERE)
    while not list(checkpoints.glob(f"{wanted}*")):
        assert process.poll() is None, "it ended before"
        time.sleep(0.001)
    process.kill()
    process.wait()
    last = max(path.name for path in checkpoints.glob("last-*"))
    assert last.startswith(wanted), "killed too late: try again"


def pack(folder):
    """Packs a SavedModel, which is 2 MB of much the same."""
    with tarfile.open(folder.with_suffix(".tar.xz"), "w:xz") as archive:
        archive.add(folder, folder.name, filter=_without_owner)


def _without_owner(member):
    member.uname = member.gname = ""
    member.uid = member.gid = member.mtime = 0
    return member


def keep_what_is_read(run):
    """Removes all but `KEPT`, and of each kind of checkpoint all but the newest."""
    kept = {path for name in KEPT for path in run.glob(name)}
    for path in set(run.iterdir()) - kept:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for kind in ("last", "best"):
        for path in sorted((run / "checkpoints").glob(f"{kind}-*"))[:-1]:
            path.unlink()


def make(checkout):
    """Writes the corpus, the runs and the numbers beside this file."""
    for name in ("corpus", "stopped", "finished"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    write_corpus(HERE / "corpus")
    for setting, options in SETTINGS.items():
        command = [sys.executable, str(checkout / "run_ptb.py"), *COMMON, *options]
        stopped, finished = (HERE / name / setting for name in ("stopped", "finished"))
        start_and_kill([*command, f"--save_path=stopped/{setting}"], stopped)
        keep_what_is_read(stopped)
        shutil.copytree(stopped, finished)
        command += [f"--save_path=finished/{setting}"]
        subprocess.run(command, cwd=HERE, check=True)
    sys.path.insert(0, str(checkout))
    import run_ptb

    numbers = measure(run_ptb.main, HERE / "finished", HERE / "corpus")
    numbers = {"machine": machine()} | numbers
    (HERE / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    pack(HERE / "finished" / "sgd" / "saved_model")
    for setting in SETTINGS:
        keep_what_is_read(HERE / "finished" / setting)
    (HERE / "finished" / "adam" / "model.keras").unlink()


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]).resolve())
