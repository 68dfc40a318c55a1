"""One side of a benchmark each, run in a process of its own.

    python workers.py SIDE WORKLOAD PRESET

A worker sets its work up, prints "ready", and then, for each line with a number
of repetitions that it reads, does the work and prints the seconds it took. At
the end of its input it prints its peak memory in bytes. The driver stops the
process (SIGSTOP) while another side is measured.

All training sides do the same step: same sizes, dropout after the embedding and
after every layer with a fresh mask at each time step, loss summed over time,
clipping by the global norm, SGD.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np

PROJECT = pathlib.Path(__file__).resolve().parent.parent
VOCABULARY = 10_000
LEARNING_RATE = 0.1  # small, so that random text cannot make the loss explode
CHUNK = 1024  # tokens of a chunk of exact evaluation, for PyTorch
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

# Preset: hidden, time steps, keep probability, largest gradient norm, init scale.
PRESETS = {
    "small": (200, 20, 1.0, 5.0, 0.1),
    "medium": (650, 35, 0.5, 5.0, 0.05),
    "large": (1500, 35, 0.35, 10.0, 0.04),
}
BATCH, LAYERS = 20, 2


def random_text(tokens):
    """Ids with the word frequencies of natural text (Zipf), int32 [tokens]."""
    weights = 1.0 / np.arange(1, VOCABULARY + 1)
    generator = np.random.default_rng(0)
    return generator.choice(VOCABULARY, tokens, p=weights / weights.sum()).astype(
        np.int32
    )


def import_tensorflow():
    """TensorFlow and the project, as run_ptb.py starts them."""
    sys.path.insert(0, str(PROJECT))
    import run_ptb

    run_ptb.set_environment()
    import tensorflow as tf

    return tf, run_ptb


def train_ours(preset):
    """The project's own compiled loop, its input pipeline included."""
    _, run_ptb = import_tensorflow()
    from ptb_lm.data.windows import training_windows
    from ptb_lm.training.input_pipeline import WindowStream
    from ptb_lm.training.step import TrainingProgram

    config = run_ptb.parse([f"--model={preset}"])
    program = TrainingProgram(config, VOCABULARY)
    windows = training_windows(random_text(500_000), config.training)
    batches = iter(WindowStream(windows).dataset.repeat())

    def work(repetitions):
        program.train_steps(batches, 0, np.full(repetitions, LEARNING_RATE))

    return work


def train_keras(preset):
    """Plain keras.layers.LSTM, stock loss and clipping, in a tf.function."""
    tf, _ = import_tensorflow()
    import keras

    hidden, steps, keep, max_norm, scale = PRESETS[preset]
    uniform = keras.initializers.RandomUniform(-scale, scale)
    inputs = keras.Input((steps,), batch_size=BATCH, dtype="int32")
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
    optimizer = keras.optimizers.SGD(LEARNING_RATE, global_clipnorm=max_norm)
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

    ids = tf.constant(random_text(BATCH * (steps + 1)).reshape(BATCH, steps + 1))

    def work(repetitions):
        for _ in range(repetitions):
            step(ids).numpy()

    return work


def torch_model(preset):
    """The tutorial's network in PyTorch: (model, LSTM state)."""
    import torch
    from torch import nn

    hidden, _, keep, _, scale = PRESETS[preset]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, hidden)
            # Its dropout is on the output of every layer but the last.
            self.lstm = nn.LSTM(hidden, hidden, LAYERS, dropout=1 - keep)
            self.dropout = nn.Dropout(1 - keep)
            self.softmax = nn.Linear(hidden, VOCABULARY)
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -scale, scale)

        def forward(self, ids, state):
            outputs, state = self.lstm(self.dropout(self.embedding(ids)), state)
            return self.softmax(self.dropout(outputs).flatten(0, 1)), state

    torch.manual_seed(0)
    return Model()


def train_torch(preset):
    """PyTorch's nn.LSTM, time-major as it likes it."""
    import torch
    from torch import nn

    hidden, steps, _, max_norm, _ = PRESETS[preset]
    model = torch_model(preset)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_function = nn.CrossEntropyLoss()
    ids = torch.from_numpy(random_text(BATCH * (steps + 1)).astype(np.int64))
    ids = ids.reshape(steps + 1, BATCH)
    state = (torch.zeros(LAYERS, BATCH, hidden),) * 2

    def work(repetitions):
        nonlocal state
        for _ in range(repetitions):
            optimizer.zero_grad(set_to_none=True)
            logits, state = model(ids[:-1], state)
            loss = loss_function(logits, ids[1:].flatten()) * steps
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            state = tuple(tensor.detach() for tensor in state)
            loss.item()

    return work


def evaluate_ours(preset):
    """Exact evaluation at batch 1; a repetition is CHUNK tokens."""
    _, run_ptb = import_tensorflow()
    from ptb_lm.evaluation.evaluator import Evaluator
    from ptb_lm.evaluation.plain import Plain
    from ptb_lm.model.language_model import build_model

    config = run_ptb.parse([f"--model={preset}"])
    evaluator = Evaluator(Plain(build_model(config, VOCABULARY), config))

    def work(repetitions):
        evaluator.exact(random_text(repetitions * CHUNK + 1))

    return work


def evaluate_torch(preset):
    """nn.LSTM at batch 1 over chunks of CHUNK tokens, state carried."""
    import torch
    from torch import nn

    model = torch_model(preset).eval()
    loss_function = nn.CrossEntropyLoss(reduction="sum")

    def work(repetitions):
        ids = torch.from_numpy(random_text(repetitions * CHUNK + 1).astype(np.int64))
        state = (torch.zeros(LAYERS, 1, PRESETS[preset][0]),) * 2
        with torch.no_grad():
            for begin in range(0, repetitions * CHUNK, CHUNK):
                chunk = ids[begin : begin + CHUNK + 1]
                logits, state = model(chunk[:-1, None], state)
                loss_function(logits, chunk[1:]).item()

    return work


def text_model_of(preset):
    """The functions of an export, with random weights and a made-up vocabulary."""
    _, run_ptb = import_tensorflow()
    from ptb_lm.data.vocabulary import Vocabulary
    from ptb_lm.inference.text_model import TextModel
    from ptb_lm.model.language_model import build_model

    model = build_model(run_ptb.parse([f"--model={preset}"]), VOCABULARY)
    words = ["<eos>", *(f"word{number}" for number in range(1, VOCABULARY))]
    return TextModel(model, Vocabulary(words))


def sample_ours(preset, streams=1):
    """The exported model's generate; a repetition is DRAWN tokens a stream."""
    tf, _ = import_tensorflow()
    text_model = text_model_of(preset)
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


def sample_torch(preset):
    """What people write: a Python loop that calls nn.LSTM a token at a time."""
    import torch

    model = torch_model(preset).eval()

    def work(repetitions):
        state = (torch.zeros(LAYERS, 1, PRESETS[preset][0]),) * 2
        ids = torch.zeros(1, 1, dtype=torch.int64)
        with torch.no_grad():
            for _ in range(repetitions * DRAWN):
                logits, state = model(ids, state)
                ids = torch.multinomial(torch.softmax(logits, dim=1), 1)

    return work


def step_saved_model(preset):
    """The SavedModel's step, a token a call; a repetition is DRAWN tokens.

    In all workers of this workload the caller carries the state, and takes the
    log-probabilities of the next token as a NumPy array.
    """
    tf, _ = import_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "saved_model"
        in_a_process(write_saved_model, preset, path)
        model = tf.saved_model.load(str(path))

    def work(repetitions):
        state = model.initial_state(1)["state"]
        for number in range(repetitions * DRAWN):
            stepped = model.step(np.array([[number % VOCABULARY]], np.int32), state)
            stepped["log_probabilities"].numpy()
            state = stepped["state"]

    return work


def step_torch(preset):
    """nn.LSTM and log_softmax, a token a call."""
    import torch

    model = torch_model(preset).eval()

    def work(repetitions):
        state = (torch.zeros(LAYERS, 1, PRESETS[preset][0]),) * 2
        with torch.inference_mode():
            for number in range(repetitions * DRAWN):
                ids = torch.tensor([[number % VOCABULARY]])
                logits, state = model(ids, state)
                torch.log_softmax(logits, dim=1).numpy()

    return work


def step_onnxruntime(preset, int8=False):
    """The ONNX export in onnxruntime, a token a call."""
    import onnxruntime

    session = onnxruntime.InferenceSession(in_a_process(onnx_file, preset, int8))
    names = ["log_probabilities", "next_state"]

    def work(repetitions):
        state = np.zeros([1, state_width(preset)], np.float32)
        for number in range(repetitions * DRAWN):
            ids = np.array([[number % VOCABULARY]], np.int32)
            _, state = session.run(names, {"ids": ids, "state": state})

    return work


def step_litert(preset, int8=False):
    """The LiteRT export, a token a call."""
    from ai_edge_litert.interpreter import Interpreter

    content = in_a_process(litert_file, preset, int8)
    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
    step = interpreter.get_signature_runner()

    def work(repetitions):
        state = np.zeros([1, state_width(preset)], np.float32)
        for number in range(repetitions * DRAWN):
            ids = np.array([[number % VOCABULARY]], np.int32)
            state = step(ids=ids, state=state)["state"]

    return work


def state_width(preset):
    """H and c of all layers."""
    return 2 * LAYERS * PRESETS[preset][0]


def in_a_process(function, *arguments):
    """What a function returns in a process of its own.

    So that the memory of this process is that of the program that it measures.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def write_saved_model(preset, path):
    """The functions of an export, as a SavedModel."""
    text_model_of(preset).save(path)


def onnx_file(preset, int8):
    """The ONNX export, as bytes."""
    model = text_model_of(preset).keras_model()
    from ptb_lm.export.onnx_step import onnx_step

    return onnx_step(model, int8)


def litert_file(preset, int8):
    """The LiteRT export, as bytes."""
    model = text_model_of(preset).keras_model()
    from ptb_lm.export.litert import litert_step

    return litert_step(model, int8)


def read_memory(preset):
    """The ceiling of sampling: reading every weight of the network once."""
    tf, _ = import_tensorflow()
    hidden = PRESETS[preset][0]
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
    ("ours", "evaluate"): evaluate_ours,
    ("pytorch", "evaluate"): evaluate_torch,
    ("ours", "sample"): sample_ours,
    ("ours, 32 streams", "sample"): lambda preset: sample_ours(preset, STREAMS),
    ("pytorch", "sample"): sample_torch,
    ("ceiling", "sample"): read_memory,
    ("ours", "step, SavedModel"): step_saved_model,
    ("ours", "step, onnxruntime"): step_onnxruntime,
    ("ours", "step, onnxruntime int8"): lambda preset: step_onnxruntime(preset, True),
    ("ours", "step, LiteRT"): step_litert,
    ("ours", "step, LiteRT int8"): lambda preset: step_litert(preset, True),
    **{("pytorch", workload): step_torch for workload in STEPS},
    ("ceiling", "train"): lambda preset: multiply_matrices(MATRIX_SIZE),
}


def peak_memory():
    """Bytes of this process. Linux's ru_maxrss would count what its parent had."""
    status = pathlib.Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes


def main(side, workload, preset):
    work = WORKERS[side, workload](preset)
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
