"""Reads handwritten digits row by row with this project's LSTM layer.

python examples/mnist_rows.py --data_path=FOLDER

An image is a sequence of 28 rows of 28 pixels; what the LSTM holds after the last
row is classified. FOLDER has MNIST's t10k files (IDX, gzipped or not), CSV files or
mnist.npz; a .csv or .npz file can be named too. The folder --out then holds
accuracy.png, mistakes.png and mnist_rows.json.
"""

import math
import pathlib
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags
from mnist_data import CLASSES, SIDE, load_digits

from ptb_lm.errors import UserError
from ptb_lm.system import files
from ptb_lm.system.quiet_start import start_tensorflow
from run_ptb import set_environment

POINT_EVERY = 20  # iterations between points of the curves
SHOWN_MISTAKES = 24

Digits = tuple[np.ndarray, np.ndarray]  # images [n, 28, 28], labels [n]


def define_flags() -> flags.FlagValues:
    """The options, with their defaults and bounds."""
    values = flags.FlagValues()
    own = {"flag_values": values}
    flags.DEFINE_string("data_path", "data/mnist", "Folder or file with MNIST.", **own)
    flags.DEFINE_enum(
        "part",
        "test",
        ["test", "train"],
        "Which part of MNIST is read, and divided into images for training and for"
        " testing.",
        **own,
    )
    counts = {
        "train": (8_000, "Images to train on."),
        "test": (2_000, "Images to test on."),
        "iterations": (300, "Training steps."),
        "batch_size": (128, "Images of one step."),
        "units": (128, "Units of the LSTM layer."),
    }
    for name, (default, text) in counts.items():
        flags.DEFINE_integer(name, default, text, 1, 1_000_000, **own)
    flags.DEFINE_float("learning_rate", 0.001, "Learning rate of Adam.", **own)
    flags.register_validator(
        "learning_rate",
        lambda rate: math.isfinite(rate) and rate > 0,
        "must be greater than 0",
        **own,
    )
    flags.DEFINE_multi_integer(
        "seed",
        [1],
        "Seed of the weights, of the division and of the order of the images. Give"
        " it again to train once more.",
        lower_bound=0,
        upper_bound=2**31 - 1,
        **own,
    )
    flags.DEFINE_string("out", "runs/mnist_rows", "Folder for what it writes.", **own)
    flags.DEFINE_bool("help", False, "Show this help.", **own)
    return values


def parse(arguments: Sequence[str]) -> flags.FlagValues:
    """The options that the arguments ask for; UserError for wrong ones."""
    values = define_flags()
    try:
        rest = values([sys.argv[0], *arguments])[1:]
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags begin with --")
    return values


def build_model(units: int, learning_rate: float) -> Any:
    """Keras model: images [batch, 28, 28] -> logits [batch, 10].

    Each row is first mapped to `units` numbers, linearly.
    """
    import keras

    from ptb_lm.model.lstm import LSTM

    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE)),
            keras.layers.Dense(units),
            LSTM(units),
            keras.layers.Dense(CLASSES),
        ]
    )
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # compiling 28 unrolled steps takes longer than it saves
    )
    return model


def batches(
    generator: np.random.Generator, count: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Endless batches of indices below count, each index once a pass."""
    left = np.empty(0, np.int64)
    while True:
        while len(left) < batch_size:
            left = np.concatenate([left, generator.permutation(count)])
        yield left[:batch_size]
        left = left[batch_size:]


def divide(
    images: np.ndarray, labels: np.ndarray, sizes: Sequence[int], order: np.ndarray
) -> list[Digits]:
    """Digits of each of the sizes, taken one after the other in this order."""
    parts = np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])
    return [(images[part], labels[part]) for part in parts]


def train(
    images: np.ndarray, labels: np.ndarray, seed: int, options: flags.FlagValues
) -> tuple[dict[str, Any], tuple[np.ndarray, ...]]:
    """Trains one model and tests it as it learns.

    Args:
      images: float32 [n, 28, 28].
      labels: int64 [n].
      seed: of all that is random.
      options: the command's.

    Returns:
      The run's record, and its mistakes: images, labels and predictions.

    Raises:
      UserError: the loss is no longer finite.
    """
    import keras

    keras.utils.set_random_seed(seed)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(images))
    training, (test_images, test_labels) = divide(
        images, labels, (options.train, options.test), order
    )
    model = build_model(options.units, options.learning_rate)
    curve = []
    for iteration, accuracy in steps(model, *training, generator, options):
        if iteration % POINT_EVERY and iteration < options.iterations:
            continue
        predictions = model.predict(test_images, 1000, verbose=0).argmax(axis=1)
        point = {
            "iteration": iteration,
            "batch_accuracy": accuracy,
            "test_accuracy": float((predictions == test_labels).mean()),
        }
        curve.append(point)
        show(seed, point)
    wrong = predictions != test_labels
    record = {"seed": seed, "test_accuracy": curve[-1]["test_accuracy"], "curve": curve}
    return record, (test_images[wrong], test_labels[wrong], predictions[wrong])


def steps(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    generator: np.random.Generator,
    options: flags.FlagValues,
) -> Iterator[tuple[int, float]]:
    """Takes the training steps; yields (number, accuracy on its batch) of each."""
    drawn = batches(generator, len(images), options.batch_size)
    for iteration, batch in zip(range(1, options.iterations + 1), drawn, strict=False):
        scores = model.train_on_batch(images[batch], labels[batch], return_dict=True)
        if not math.isfinite(scores["loss"]):
            raise UserError(
                f"the loss is no longer finite at iteration {iteration}; try a lower"
                " --learning_rate"
            )
        yield iteration, float(scores["accuracy"])


def show(seed: int, point: dict[str, Any]) -> None:
    """Prints a point of the curves."""
    print(
        f"seed {seed}  iteration {point['iteration']:4d}"
        f"  batch {point['batch_accuracy']:6.1%}  test {point['test_accuracy']:6.1%}",
        flush=True,
    )


def plot_accuracy(runs: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Draws each run's accuracy, on the test images and on its batches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="iteration", ylabel="accuracy, %", title="MNIST by rows"
    )
    for number, run in enumerate(runs):
        iterations = [point["iteration"] for point in run["curve"]]
        for part, style in (("test", "-"), ("batch", ":")):
            heights = [100 * point[f"{part}_accuracy"] for point in run["curve"]]
            label = f"{part}, seed {run['seed']}"
            axes.plot(iterations, heights, style, color=f"C{number}", label=label)
    axes.grid(alpha=0.3)
    axes.legend()
    files.write_atomically(path, lambda file: figure.savefig(file, format="png"))


def plot_mistakes(mistakes: tuple[np.ndarray, ...], path: pathlib.Path) -> None:
    """Draws some mistaken digits: what each is, and what it was taken for."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    figure.suptitle(f"{len(mistakes[0])} mistakes: is -> taken for")
    grid = figure.subplots(4, SHOWN_MISTAKES // 4).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, label, prediction in zip(grid, *mistakes, strict=False):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"{label} -> {prediction}", fontsize="small")
    files.write_atomically(path, lambda file: figure.savefig(file, format="png"))


def run(options: flags.FlagValues) -> None:
    """Trains once for each seed and writes the figures and the record."""
    images, labels = load_digits(files.expand_home(options.data_path), options.part)
    if len(images) < options.train + options.test:
        raise UserError(
            f"--data_path={options.data_path}: {len(images):,} images; --train and"
            f" --test ask for {options.train + options.test:,}"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the figures need matplotlib: pip install -e '.[plots]'"
        ) from error
    out = files.expand_home(options.out)
    files.make_folder(out)
    start_tensorflow()
    from ptb_lm.runs.provenance import provenance

    trained = [train(images, labels, seed, options) for seed in options.seed]
    runs = [record for record, _ in trained]
    mean = statistics.fmean(record["test_accuracy"] for record in runs)
    names = ("train", "test", "iterations", "batch_size", "units", "learning_rate")
    record = {name: options[name].value for name in names}
    record |= {"mean_test_accuracy": mean, "runs": runs, **provenance()}
    plot_accuracy(runs, out / "accuracy.png")
    plot_mistakes(trained[0][1], out / "mistakes.png")
    files.write_json(out / "mnist_rows.json", record)
    print(f"test accuracy {mean:.2%}, mean of {len(runs)}; everything is in {out}")


def main(arguments: Sequence[str] = ()) -> int:
    """Runs the command line; returns the exit status."""
    set_environment()
    try:
        options = parse(arguments)
        if options.help:
            print(__doc__, options.main_module_help(), sep="\n")
        else:
            run(options)
        return 0
    except UserError as error:
        print(f"mnist_rows.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mnist_rows.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
