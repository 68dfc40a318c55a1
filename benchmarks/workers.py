"""One side of a benchmark each, run in a process of its own.

    python workers.py SIDE WORKLOAD NETWORK

A worker sets its work up, prints "ready", and then, for each line with a number
of repetitions that it reads, does the work and prints the seconds it took. At
the end of its input it prints its peak memory in bytes. The driver stops the
process (SIGSTOP) while another side is measured.

All training sides do the same step: same sizes, dropout after the embedding and
after every layer with a fresh mask at each time step, loss summed over time,
clipping by the global norm, SGD. In the workload "train, bfloat16" the matrix products
have bfloat16 factors, in PyTorch by its autocast.
"""

import atexit
import concurrent.futures
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time

import numpy as np

PROJECT = pathlib.Path(__file__).resolve().parent.parent
VOCABULARY = 10_000
LEARNING_RATE = 0.1  # small, so that random text cannot make the loss explode
STARTING = "first step"  # the workload
TEXT = 929_589  # tokens, as many as the Penn Treebank's
CHUNK = 1024  # tokens of a repetition of exact evaluation
LONG_MEMORY = 5.0  # sigmoid(5) is 0.993: what is remembered halves in 100 tokens
DRAWN = 20  # tokens of a stream that are drawn in one repetition
STREAMS = 32
MATRIX_SIZE = 2048
# One stream, token by token, as a program of the user reads an export.
STEPS = (
    "step, SavedModel",
    "step, onnxruntime",
    "step, onnxruntime int8",
    "step, LiteRT",
    "step, LiteRT int8",
)


@dataclasses.dataclass(frozen=True)
class Network:
    """What a row of the benchmark trains, or evaluates, or reads with.

    Attributes:
      flags: that make this project train it.
      hidden: units of each of the LAYERS layers, and width of the embedding.
      steps: of a window.
      keep: probability.
      max_norm: the largest norm of a gradient.
      scale: of the initial weights.
      batch: rows of a window.
      tied: whether the softmax shares the embedding.
      cell: lstm or gru.
      vocabulary: number of words.
    """

    flags: tuple[str, ...]
    hidden: int
    steps: int
    keep: float
    max_norm: float
    scale: float
    batch: int = 20
    tied: bool = False
    cell: str = "lstm"
    vocabulary: int = VOCABULARY


LAYERS = 2
MEDIUM = Network(("--model=medium",), 650, 35, 0.5, 5.0, 0.05)
NETWORKS = {
    "small": Network(("--model=small",), 200, 20, 1.0, 5.0, 0.1),
    "medium": MEDIUM,
    "large": Network(("--model=large",), 1500, 35, 0.35, 10.0, 0.04),
    "batch of 128": Network(
        (
            "--model=medium",
            "--hidden_size=512",
            "--num_steps=32",
            "--batch_size=128",
            "--tied",
        ),
        hidden=512,
        steps=32,
        keep=0.5,
        max_norm=5.0,
        scale=0.05,
        batch=128,
        tied=True,
    ),
    "medium GRU": dataclasses.replace(
        MEDIUM, flags=("--model=medium", "--cell=gru"), cell="gru"
    ),
    "200,000 words": dataclasses.replace(
        MEDIUM,
        flags=("--model=medium", "--hidden_size=400"),
        hidden=400,
        vocabulary=200_000,
    ),
}
# Of the adaptive softmax: the defaults of this project.
CUTOFFS = [2_000, 20_000]
REDUCTION = 4


def random_text(tokens, vocabulary=VOCABULARY):
    """Ids with the word frequencies of natural text (Zipf), int32 [tokens]."""
    weights = 1.0 / np.arange(1, vocabulary + 1)
    generator = np.random.default_rng(0)
    return generator.choice(vocabulary, tokens, p=weights / weights.sum()).astype(
        np.int32
    )


def import_tensorflow():
    """TensorFlow and the project, as run_ptb.py starts them."""
    sys.path.insert(0, str(PROJECT))
    import run_ptb
    from ptb_lm.system import quiet_start

    run_ptb.set_environment()
    quiet_start.import_tensorflow()
    import tensorflow as tf

    return tf, run_ptb


def train_ours(network, *flags):
    """The project's own compiled loop, its input pipeline included."""
    _, run_ptb = import_tensorflow()
    from ptb_lm.data.windows import training_windows
    from ptb_lm.training.input_pipeline import WindowStream
    from ptb_lm.training.step import TrainingProgram

    config = run_ptb.parse([*network.flags, *flags])
    program = TrainingProgram(config, network.vocabulary)
    text = random_text(500_000, network.vocabulary)
    windows = training_windows(text, config.training)
    batches = iter(WindowStream(windows).dataset.repeat())

    def work(repetitions):
        program.train_steps(batches, 0, np.full(repetitions, LEARNING_RATE))

    return work


def train_keras(network):
    """Plain keras.layers.LSTM, stock loss and clipping, in a tf.function."""
    tf, _ = import_tensorflow()
    import keras

    hidden, steps, keep = network.hidden, network.steps, network.keep
    scale, batch = network.scale, network.batch
    uniform = keras.initializers.RandomUniform(-scale, scale)
    inputs = keras.Input((steps,), batch_size=batch, dtype="int32")
    outputs = keras.layers.Embedding(VOCABULARY, hidden, uniform)(inputs)
    outputs = keras.layers.Dropout(1 - keep)(outputs)
    for _ in range(LAYERS):
        outputs = keras.layers.LSTM(
            hidden,
            kernel_initializer=uniform,
            recurrent_initializer=uniform,
            unit_forget_bias=False,
            return_sequences=True,
            stateful=True,
        )(outputs)
        outputs = keras.layers.Dropout(1 - keep)(outputs)
    logits = keras.layers.Dense(VOCABULARY, kernel_initializer=uniform)(outputs)
    model = keras.Model(inputs, logits)
    optimizer = keras.optimizers.SGD(LEARNING_RATE, global_clipnorm=network.max_norm)
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(ids):
        with tf.GradientTape() as tape:
            logits = model(ids[:, :-1], training=True)
            loss = loss_function(ids[:, 1:], logits) * steps
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    ids = tf.constant(random_text(batch * (steps + 1)).reshape(batch, steps + 1))

    def work(repetitions):
        for _ in range(repetitions):
            step(ids).numpy()

    return work


def torch_model(network, adaptive=False):
    """The tutorial's network in PyTorch; adaptive: its softmax is in the loss."""
    import torch
    from torch import nn

    hidden, drop = network.hidden, 1 - network.keep

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(network.vocabulary, hidden)
            # Its dropout is on the output of every layer but the last.
            layers = {"lstm": nn.LSTM, "gru": nn.GRU}[network.cell]
            self.recurrent = layers(hidden, hidden, LAYERS, dropout=drop)
            self.dropout = nn.Dropout(drop)
            self.softmax = (
                nn.Identity() if adaptive else nn.Linear(hidden, network.vocabulary)
            )
            if network.tied:
                self.softmax.weight = self.embedding.weight
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -network.scale, network.scale)

        def initial_state(self, batch):
            zeros = torch.zeros(LAYERS, batch, hidden)
            return (zeros, zeros) if network.cell == "lstm" else zeros

        def forward(self, ids, state):
            outputs, state = self.recurrent(self.dropout(self.embedding(ids)), state)
            return self.softmax(self.dropout(outputs).flatten(0, 1)), state

    torch.manual_seed(0)
    return Model()


def train_torch(network, dtype="float32", adaptive=False):
    """PyTorch's nn.LSTM or nn.GRU, time-major as it likes it."""
    import torch
    from torch import nn

    steps, batch = network.steps, network.batch
    model = torch_model(network, adaptive)
    loss_function = nn.CrossEntropyLoss()
    if adaptive:
        softmax = nn.AdaptiveLogSoftmaxWithLoss(
            network.hidden, network.vocabulary, CUTOFFS, REDUCTION, head_bias=True
        )
        model.softmax_of_the_loss = softmax  # so that it is trained

        def loss_function(features, targets):
            return softmax(features, targets).loss

    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    text = random_text(batch * (steps + 1), network.vocabulary).astype(np.int64)
    ids = torch.from_numpy(text).reshape(steps + 1, batch)
    state = model.initial_state(batch)
    autocast = contextlib.nullcontext
    if dtype == "bfloat16":
        autocast = functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16)

    def detached(state):
        if isinstance(state, tuple):
            return tuple(map(detached, state))
        return state.detach().float()

    def work(repetitions):
        nonlocal state
        for _ in range(repetitions):
            optimizer.zero_grad(set_to_none=True)
            with autocast():
                logits, state = model(ids[:-1], state)
            loss = loss_function(logits.float(), ids[1:].flatten()) * steps
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), network.max_norm)
            optimizer.step()
            state = detached(state)
            loss.item()

    return work


def evaluate_ours(network):
    """Exact evaluation of one text; each repetition makes it CHUNK tokens longer.

    The forget gates' bias makes the random network remember as long as trained ones do
    (about a thousand tokens, to the last bits of the state), and its weights are so
    small that it is not chaotic, as trained ones are not.
    """
    _, run_ptb = import_tensorflow()
    from ptb_lm.evaluation.evaluator import Evaluator
    from ptb_lm.evaluation.plain import Plain
    from ptb_lm.model.language_model import build_model

    scale = 0.025 / network.hidden**0.5
    flags = f"--forget_bias={LONG_MEMORY}", f"--init_scale={scale}"
    config = run_ptb.parse([*network.flags, *flags])
    evaluator = Evaluator(Plain(build_model(config, VOCABULARY), config))

    def work(repetitions):
        evaluator.exact(random_text(repetitions * CHUNK + 1))

    return work


def evaluate_torch(network):
    """nn.LSTM or nn.GRU at batch 1 over chunks of CHUNK tokens, state carried."""
    import torch
    from torch import nn

    model = torch_model(network).eval()
    loss_function = nn.CrossEntropyLoss(reduction="sum")

    def work(repetitions):
        ids = torch.from_numpy(random_text(repetitions * CHUNK + 1).astype(np.int64))
        state = model.initial_state(1)
        with torch.no_grad():
            for begin in range(0, repetitions * CHUNK, CHUNK):
                chunk = ids[begin : begin + CHUNK + 1]
                logits, state = model(chunk[:-1, None], state)
                loss_function(logits, chunk[1:]).item()

    return work


def first_step(start, network):
    """The start of a program up to its first training step; a repetition is a start.

    The ids are in the cache, as at every start but the first.
    """
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    words = [f"w{number}" for number in random_text(TEXT)]
    for split, tokens in ("train", TEXT), ("valid", 70_000), ("test", 70_000):
        (folder / f"{split}.txt").write_text(" ".join(words[:tokens]) + "\n")

    def work(repetitions):
        for _ in range(repetitions):
            context = multiprocessing.get_context("spawn")
            stepped = context.Event()
            process = context.Process(target=start, args=(network, folder, stepped))
            process.start()
            stepped.wait()
            process.kill()
            process.join()
            shutil.rmtree(folder / "run", ignore_errors=True)

    return work


def start_ours(network, folder, stepped):
    """Trains by run_ptb.py's own main, and says when the first step is taken."""
    _, run_ptb = import_tensorflow()
    from ptb_lm.training.step import TrainingProgram

    take_steps = TrainingProgram.train_steps

    def take_one(program, batches, step, rates):
        take_steps(program, batches, step, rates[:1])
        stepped.set()
        time.sleep(60)  # the parent ends this process

    TrainingProgram.train_steps = take_one
    sys.stdout = sys.stderr  # the protocol's stream is the parent's
    paths = f"--data_path={folder}", f"--save_path={folder}/run"
    run_ptb.main([*network.flags, *paths, f"--cache_dir={folder}/ids"])


def start_torch(network, folder, stepped):
    """Imports PyTorch, makes the network and takes a step."""
    del folder  # its ids are random
    train_torch(network)(1)
    stepped.set()


def text_model_of(network):
    """The functions of an export, with random weights and a made-up vocabulary."""
    _, run_ptb = import_tensorflow()
    from ptb_lm.data.vocabulary import Vocabulary
    from ptb_lm.inference.text_model import TextModel
    from ptb_lm.model.language_model import build_model

    model = build_model(run_ptb.parse(network.flags), VOCABULARY)
    words = ["<eos>", *(f"word{number}" for number in range(1, VOCABULARY))]
    return TextModel(model, Vocabulary(words))


def sample_ours(network, streams=1):
    """The exported model's generate; a repetition is DRAWN tokens a stream."""
    tf, _ = import_tensorflow()
    text_model = text_model_of(network)
    prompts = tf.constant(["word7"] * streams)

    def work(repetitions):
        text_model.generate(
            prompts,
            tf.constant(repetitions * DRAWN),
            tf.constant(1.0),
            tf.constant(0),
            tf.constant(1.0),
            tf.constant(1, tf.int64),
            tf.constant(True),
        )["ids"].numpy()

    return work


def sample_torch(network):
    """What people write: a Python loop that calls nn.LSTM a token at a time."""
    import torch

    model = torch_model(network).eval()

    def work(repetitions):
        state = model.initial_state(1)
        ids = torch.zeros(1, 1, dtype=torch.int64)
        with torch.no_grad():
            for _ in range(repetitions * DRAWN):
                logits, state = model(ids, state)
                ids = torch.multinomial(torch.softmax(logits, dim=1), 1)

    return work


def step_saved_model(network):
    """The SavedModel's step, a token a call; a repetition is DRAWN tokens.

    In all workers of this workload the caller carries the state, and takes the
    log-probabilities of the next token as a NumPy array.
    """
    tf, _ = import_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "saved_model"
        in_a_process(write_saved_model, network, path)
        model = tf.saved_model.load(str(path))

    def work(repetitions):
        state = model.initial_state(1)["state"]
        for number in range(repetitions * DRAWN):
            stepped = model.step(np.array([[number % VOCABULARY]], np.int32), state)
            stepped["log_probabilities"].numpy()
            state = stepped["state"]

    return work


def step_torch(network):
    """nn.LSTM and log_softmax, a token a call."""
    import torch

    model = torch_model(network).eval()

    def work(repetitions):
        state = model.initial_state(1)
        with torch.inference_mode():
            for number in range(repetitions * DRAWN):
                ids = torch.tensor([[number % VOCABULARY]])
                logits, state = model(ids, state)
                torch.log_softmax(logits, dim=1).numpy()

    return work


def step_onnxruntime(network, int8=False):
    """The ONNX export in onnxruntime, a token a call."""
    import onnxruntime

    session = onnxruntime.InferenceSession(in_a_process(onnx_file, network, int8))
    names = ["log_probabilities", "next_state"]

    def work(repetitions):
        state = np.zeros([1, state_width(network)], np.float32)
        for number in range(repetitions * DRAWN):
            ids = np.array([[number % VOCABULARY]], np.int32)
            _, state = session.run(names, {"ids": ids, "state": state})

    return work


def step_litert(network, int8=False):
    """The LiteRT export, a token a call."""
    from ai_edge_litert.interpreter import Interpreter

    content = in_a_process(litert_file, network, int8)
    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
    step = interpreter.get_signature_runner()

    def work(repetitions):
        state = np.zeros([1, state_width(network)], np.float32)
        for number in range(repetitions * DRAWN):
            ids = np.array([[number % VOCABULARY]], np.int32)
            state = step(ids=ids, state=state)["state"]

    return work


def state_width(network):
    """H and c of all layers."""
    return 2 * LAYERS * network.hidden


def in_a_process(function, *arguments):
    """What a function returns in a process of its own.

    So that the memory of this process is that of the program that it measures.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def write_saved_model(network, path):
    """The functions of an export, as a SavedModel."""
    text_model_of(network).save(path)


def onnx_file(network, int8):
    """The ONNX export, as bytes."""
    model = text_model_of(network).keras_model()
    from ptb_lm.export.onnx_step import onnx_step

    return onnx_step(model, int8)


def litert_file(network, int8):
    """The LiteRT export, as bytes."""
    model = text_model_of(network).keras_model()
    from ptb_lm.export.litert import litert_step

    return litert_step(model, int8)


def read_memory(network):
    """The ceiling of sampling: reading every weight of the network once."""
    tf, _ = import_tensorflow()
    hidden = network.hidden
    # The embedding is not read whole: one row a token.
    weights = LAYERS * 8 * hidden**2 + hidden * VOCABULARY
    memory = tf.ones([weights])
    read = tf.function(lambda: tf.reduce_sum(memory), autograph=False)

    def work(repetitions):
        for _ in range(repetitions):
            total = read()
        total.numpy()

    return work


def multiply_matrices(size):
    """The ceiling: single-precision products of square matrices."""
    tf, _ = import_tensorflow()
    matrix = tf.random.normal([size, size])
    multiply = tf.function(lambda: tf.matmul(matrix, matrix), autograph=False)

    def work(repetitions):
        for _ in range(repetitions):
            product = multiply()
        product[0, 0].numpy()

    return work


WORKERS = {
    ("ours", "train"): train_ours,
    ("keras", "train"): train_keras,
    ("pytorch", "train"): train_torch,
    ("ceiling", "train"): lambda network: multiply_matrices(MATRIX_SIZE),
    ("ours", "train, bfloat16"): (
        lambda network: train_ours(network, "--dtype=bfloat16")
    ),
    ("ours, float32", "train, bfloat16"): train_ours,
    ("pytorch", "train, bfloat16"): lambda network: train_torch(network, "bfloat16"),
    ("ours", "train, adaptive softmax"): (
        lambda network: train_ours(network, "--softmax=adaptive")
    ),
    ("ours, full softmax", "train, adaptive softmax"): train_ours,
    ("pytorch", "train, adaptive softmax"): (
        lambda network: train_torch(network, adaptive=True)
    ),
    ("ours", "evaluate"): evaluate_ours,
    ("pytorch", "evaluate"): evaluate_torch,
    ("ours", "sample"): sample_ours,
    ("ours, 32 streams", "sample"): lambda network: sample_ours(network, STREAMS),
    ("pytorch", "sample"): sample_torch,
    ("ceiling", "sample"): read_memory,
    ("ours", "step, SavedModel"): step_saved_model,
    ("ours", "step, onnxruntime"): step_onnxruntime,
    ("ours", "step, onnxruntime int8"): lambda network: step_onnxruntime(network, True),
    ("ours", "step, LiteRT"): step_litert,
    ("ours", "step, LiteRT int8"): lambda network: step_litert(network, True),
    **{("pytorch", workload): step_torch for workload in STEPS},
    ("ours", STARTING): lambda network: first_step(start_ours, network),
    ("pytorch", STARTING): lambda network: first_step(start_torch, network),
}


def peak_memory():
    """Bytes of this process. Linux's ru_maxrss would count what its parent had."""
    status = pathlib.Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes


def main(side, workload, network):
    work = WORKERS[side, workload](NETWORKS[network])
    work(1)
    work(2)
    # What follows is the protocol; whatever libraries print goes to stderr.
    print("ready", flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        work(int(line))
        print(time.perf_counter() - begin, flush=True)
    print(peak_memory(), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(*sys.argv[1:])
