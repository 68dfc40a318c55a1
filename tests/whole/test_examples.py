"""The examples, run as a person runs them."""

import csv
import gzip
import json
import pathlib
import re
import struct
import sys

import matplotlib.image
import nbclient
import nbformat
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOK, PROBING = EXAMPLES / "ptb.ipynb", EXAMPLES / "probing.ipynb"
FLOOR = 9.79

sys.path.insert(0, str(EXAMPLES))

import mnist_data  # noqa: E402
import mnist_rows  # noqa: E402

# --- MNIST: data -------------------------------------------------------------------


def make_digits(count, seed=1):
    """Images of a bright row each, uint8; the row tells the label."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, count, dtype=np.uint8)
    images = generator.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    images[np.arange(count), 2 * labels + 4] = 255
    return images, labels


def idx(array):
    """An array as an IDX file holds it."""
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


IMAGES, LABELS = make_digits(200)
IDX_IMAGES, IDX_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def write_table(path, rows, heading=()):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*heading, *rows])


def write_idx(folder):
    (folder / IDX_IMAGES).write_bytes(idx(IMAGES))
    (folder / IDX_LABELS).write_bytes(idx(LABELS))
    return folder


def write_gzipped(folder):
    (folder / f"{IDX_IMAGES}.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (folder / f"{IDX_LABELS}.gz").write_bytes(gzip.compress(idx(LABELS)))
    return folder


def write_npz(folder):
    np.savez_compressed(folder / "mnist.npz", x_test=IMAGES, y_test=LABELS)
    return folder


def write_npz_file(folder):
    return write_npz(folder) / "mnist.npz"


def write_two_tables(folder):
    """As in the post that the example comes from: pixels to 1, one-hot labels."""
    pixels = (IMAGES / np.float32(255)).reshape(len(IMAGES), -1)
    write_table(folder / "mnist_test_images.csv", pixels)
    write_table(folder / "mnist_test_labels.csv", np.eye(10)[LABELS])
    return folder


def write_label_first(folder):
    rows = np.column_stack([LABELS, IMAGES.reshape(len(IMAGES), -1)])
    write_table(folder / "plain.csv", rows)
    return folder / "plain.csv"


def write_heading(folder):
    rows = np.column_stack([LABELS, IMAGES.reshape(len(IMAGES), -1)])
    heading = [
        "label",
        *(f"{row}x{column}" for row in range(28) for column in range(28)),
    ]
    write_table(folder / "headed.csv", rows, [heading])
    return folder / "headed.csv"


@pytest.mark.parametrize(
    "write",
    [
        write_idx,
        write_gzipped,
        write_npz,
        write_npz_file,
        write_two_tables,
        write_label_first,
        write_heading,
    ],
)
def test_every_form_gives_the_same_digits(tmp_path, write):
    images, labels = mnist_data.load_digits(write(tmp_path), "test")
    assert images.dtype == np.float32 and labels.dtype == np.int64
    np.testing.assert_allclose(images, IMAGES / 255, atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
    """Runs the example; returns the one line of its error."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*arguments):
        assert mnist_rows.main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        line = error.removesuffix("\n").removeprefix("mnist_rows.py: ")
        assert line.isprintable(), f"not one line: {line!r}"
        assert "Traceback" not in line
        assert not list(work.iterdir()), "something was written"
        return line

    return run


def damage_idx(name, change):
    def write(folder):
        path = write_idx(folder) / name
        path.write_bytes(change(path.read_bytes()))
        return folder

    return write


def damage_gzip(change):
    def write(folder):
        path = write_gzipped(folder) / f"{IDX_IMAGES}.gz"
        path.write_bytes(change(path.read_bytes()))
        return folder

    return write


def one_file(name, content):
    def write(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return write


def archive(**arrays):
    def write(folder):
        np.savez(folder / "mnist.npz", **arrays)
        return folder

    return write


def without_labels(folder):
    (write_idx(folder) / IDX_LABELS).unlink()
    return folder


ROW = b"3," + b",".join([b"0"] * 784) + b"\n"
DAMAGED = {
    "cut": (damage_idx(IDX_IMAGES, lambda data: data[:-1]), "cut short or damaged"),
    "longer": (damage_idx(IDX_IMAGES, lambda data: data + b"!"), "156,801 follow"),
    "header": (damage_idx(IDX_IMAGES, lambda data: data[:9]), "within its header"),
    "huge": (
        damage_idx(IDX_IMAGES, lambda data: data[:4] + b"\xff" * 12 + data[16:]),
        "cut short or damaged",
    ),
    "magic": (damage_idx(IDX_IMAGES, lambda data: b"PK" + data), "50 4b 00 00, not 00"),
    "empty": (damage_idx(IDX_LABELS, lambda data: b""), "(none), not 00 00 08 01"),
    "swapped": (damage_idx(IDX_LABELS, lambda data: idx(IMAGES)), "not 00 00 08 01"),
    "fewer": (
        damage_idx(IDX_LABELS, lambda data: idx(LABELS[:50])),
        "200 images and 50 labels",
    ),
    "label": (damage_idx(IDX_LABELS, lambda data: idx(LABELS + 9)), "from 0 to 9"),
    "small": (
        damage_idx(IDX_IMAGES, lambda data: idx(IMAGES[:, :20])),
        "28 x 28 pixels expected, not 20 x 28",
    ),
    "gzip cut": (damage_gzip(lambda data: data[:3000]), "damaged or cut short"),
    "gzip rot": (
        damage_gzip(lambda data: data[:3000] + b"\0" * 9 + data[3009:]),
        "damaged or cut short",
    ),
    "no labels": (without_labels, f"{IDX_LABELS}: cannot read: No such file"),
    "nothing": (lambda folder: folder, "holds none of t10k-images-idx3-ubyte"),
    "nowhere": (lambda folder: folder / "nowhere", "no such file or folder"),
    "a picture": (one_file("digits.png", b"\x89PNG"), "neither a folder nor a .csv"),
    "text": (one_file("a.csv", ROW + b"3,cat\n"), "line 2: could not convert"),
    "short row": (one_file("a.csv", ROW + b"3,0\n"), "line 2: 785 values expected, 2"),
    "no number": (one_file("a.csv", b"label,pixel\n"), "holds no numbers"),
    "bright": (one_file("a.csv", ROW.replace(b"0\n", b"256\n")), "from 0 to 255"),
    "nan": (one_file("a.csv", ROW.replace(b"0\n", b"nan\n")), "from 0 to 255"),
    "half": (one_file("a.csv", ROW.replace(b"3,", b"3.5,")), "whole numbers from 0"),
    "bytes": (one_file("a.csv", b"\xff\xfe\0"), "not UTF-8"),
    "no archive": (one_file("a.npz", b"not an archive"), "not an .npz file"),
    "an array": (one_file("a.npz", b"\x93NUMPY\1\0"), "not an .npz file"),
    "arrays": (archive(x_train=IMAGES, y_train=LABELS), "no array x_test or y_test"),
    "pickled": (
        archive(x_test=IMAGES, y_test=LABELS.astype(object)),
        "not an .npz file of plain arrays",
    ),
    "scalars": (archive(x_test=np.uint8(1), y_test=np.uint8(1)), "a label must be"),
    "a scalar": (archive(x_test=np.uint8(1), y_test=LABELS), "not single numbers"),
    "texts": (archive(x_test=IMAGES, y_test=LABELS.astype(str)), "must be numbers"),
    "two hot": (
        archive(x_test=IMAGES, y_test=np.eye(10)[LABELS] + np.eye(10)[LABELS[::-1]]),
        "a label of ten values",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_data(tmp_path, fails, damage):
    write, message = DAMAGED[damage]
    folder = tmp_path / "my data"
    folder.mkdir()
    path = write(folder)
    line = fails(f"--data_path={path}")
    assert message in line and str(path) in line


def test_too_few_images(tmp_path, fails):
    line = fails(f"--data_path={write_idx(tmp_path)}", "--train=150", "--test=51")
    assert "200 images; --train and --test ask for 201" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["--iterations=0"],
        ["--iterations=many"],
        ["--units=-1"],
        ["--learning_rate=0"],
        ["--learning_rate=nan"],
        ["--seed=-1"],
        ["--part=valid"],
        ["--no_such_flag"],
        ["stray"],
    ],
)
def test_wrong_flags(fails, arguments):
    assert arguments[0].removeprefix("--").partition("=")[0] in fails(*arguments)


# --- MNIST: training ---------------------------------------------------------------


def run_mnist(tmp_path, *arguments):
    """Runs the example; returns its record."""
    out = tmp_path / "out"
    assert mnist_rows.main([f"--out={out}", *arguments]) == 0
    for name in ("accuracy.png", "mistakes.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    return json.loads((out / "mnist_rows.json").read_text())


@pytest.mark.slow
def test_mnist_rows_learns(tmp_path):
    options = ["--train=150", "--test=50", "--iterations=45", "--batch_size=50"]
    options += ["--units=24", "--learning_rate=0.02", "--seed=3", "--seed=4"]
    record = run_mnist(tmp_path, f"--data_path={write_idx(tmp_path)}", *options)
    assert [run["seed"] for run in record["runs"]] == [3, 4]
    for run in record["runs"]:
        assert [point["iteration"] for point in run["curve"]] == [20, 40, 45]
        assert run["test_accuracy"] == run["curve"][-1]["test_accuracy"]
    scores = [run["test_accuracy"] for run in record["runs"]]
    assert record["mean_test_accuracy"] == pytest.approx(np.mean(scores))
    assert record["mean_test_accuracy"] > 0.8


def dark_pixels(path):
    return int((matplotlib.image.imread(path)[..., :3].max(axis=2) < 0.1).sum())


def test_mistakes_are_drawn(tmp_path):
    """As many black images as there are mistakes, at most those that are shown."""
    areas = []
    for count in (0, 1, 10, 24, 40):
        digits = np.ones((count, 28, 28), np.float32)
        labels = np.zeros(count, np.int64)
        mnist_rows.plot_mistakes((digits, labels, labels + 1), tmp_path / "plot.png")
        areas.append(dark_pixels(tmp_path / "plot.png"))
    text, one = areas[0], areas[1] - areas[0]
    assert one > 5_000
    shares = [(area - text) / one for area in areas]
    # The images shrink a little as the titles above them take their room.
    assert shares == pytest.approx([0, 1, 10, 24, 24], rel=0.2)
    assert shares[3] == pytest.approx(shares[4], rel=0.01)


def test_accuracy_is_drawn(tmp_path):
    points = [(20, 0.4, 0.3), (40, 0.8, 0.7)]
    keys = ("iteration", "batch_accuracy", "test_accuracy")
    curve = [dict(zip(keys, point, strict=True)) for point in points]
    mnist_rows.plot_accuracy([{"seed": 1, "curve": curve}], tmp_path / "plot.png")
    image = matplotlib.image.imread(tmp_path / "plot.png")
    assert ((image[..., 2] > 0.6) & (image[..., 0] < 0.3)).sum() > 300, "blue curves"


def test_no_image_is_trained_on_and_tested_on():
    numbers = np.arange(20)
    order = np.random.default_rng(1).permutation(20)
    parts = mnist_rows.divide(numbers, -numbers, (12, 5), order)
    assert [len(images) for images, _ in parts] == [12, 5]
    assert len({*parts[0][0], *parts[1][0]}) == 17
    for images, labels in parts:
        np.testing.assert_array_equal(labels, -images)


def test_a_pass_takes_every_image_once():
    drawn = mnist_rows.batches(np.random.default_rng(1), 10, 4)
    taken = np.concatenate([next(drawn) for _ in range(5)])
    assert sorted(taken[:10]) == sorted(taken[10:]) == list(range(10))


@pytest.mark.real_data
def test_mnist_rows_on_mnist(tmp_path, real_data):
    folder = real_data / "mnist"
    record = run_mnist(tmp_path, f"--data_path={folder}", "--iterations=40")
    assert record["mean_test_accuracy"] > 0.5


# --- The notebook ------------------------------------------------------------------


def text_outputs(cell):
    """What a cell printed and returned, as text."""
    return "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", [])
    )


@pytest.fixture
def kernel_environment(tmp_path, monkeypatch):
    """A kernel of this interpreter that imports this checkout, and no settings."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def execute(tmp_path, kernel_environment):
    """Runs a notebook from top to bottom, in examples/ of a folder of its own.

    Gives the cells with their outputs, where the recorded notebook has outputs too.
    """

    def executed(path):
        work = tmp_path / "examples"
        work.mkdir()
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell("import sys; print(sys.argv)"))
        resources = {"metadata": {"path": str(work)}}
        client = nbclient.NotebookClient(notebook, timeout=3600, resources=resources)
        client.execute()
        assert "'-f'" in text_outputs(notebook.cells[-1]), "as under Jupyter"
        assert not list(work.iterdir())
        recorded = nbformat.read(path, as_version=4).cells
        for cell, before in zip(notebook.cells, recorded, strict=False):
            assert bool(text_outputs(cell)) == bool(text_outputs(before)), cell.source
        return notebook.cells

    return executed


@pytest.mark.slow
def test_notebook_in_a_kernel(tmp_path, execute):
    execute(NOTEBOOK)
    run = tmp_path / "runs" / "notebook"
    results = json.loads((run / "results.json").read_text())
    assert results["finished"]
    assert FLOOR < results["best_weights"]["test_perplexity"] < 1.2 * FLOOR
    assert (run / "perplexity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_probing_notebook_in_a_kernel(tmp_path, execute):
    """Its numbers are those of a model that has learnt the language."""
    cells = execute(PROBING)
    assert json.loads((tmp_path / "runs/probing/results.json").read_text())["finished"]
    shown = "".join(map(text_outputs, cells))
    accuracies = re.findall(r"(?m)^ +([012]) +200 +([\d.]+)%", shown)
    assert [number for number, _ in accuracies] == ["0", "1", "2"]
    assert float(accuracies[0][1]) >= 95
    probed = re.findall(r"(\d) attractors: the probe is right in ([\d.]+)%", shown)
    assert len(probed) == 3 and float(probed[0][1]) >= 90


@pytest.mark.parametrize("path", [NOTEBOOK, PROBING], ids=lambda path: path.stem)
def test_recorded_notebook(path):
    """Its outputs are of one execution, without errors, and are small."""
    assert path.stat().st_size < 200_000
    code = [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    ]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {
        "stream",
        "execute_result",
        "display_data",
    }
    assert all(output.get("name") != "stderr" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
