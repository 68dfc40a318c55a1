"""MNIST as people have it: IDX files, CSV files, or mnist.npz.

Sources: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits
(the IDX format); mnist.npz is what `keras.datasets.mnist` keeps.
"""

import gzip
import math
import pathlib
import struct
import zipfile
import zlib

import numpy as np

from ptb_lm.errors import UserError
from ptb_lm.system import files

SIDE = 28  # rows of an image, and pixels of a row
CLASSES = 10
IDX_PREFIXES = {"test": "t10k", "train": "train"}
GZIP_MAGIC = b"\x1f\x8b"


def load_digits(path: pathlib.Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads a part of MNIST.

    Args:
      path: a folder with t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (of the
        train part: train-...), .gz or not; or with mnist_test_images.csv and
        mnist_test_labels.csv; or with mnist.npz. Or one file: an .npz with x_test
        and y_test, or a .csv whose lines are a label and 784 pixels.
      part: "test" or "train"; a single .csv file is one part itself.

    Returns:
      images: float32 [n, 28, 28], from 0 to 1.
      labels: int64 [n], from 0 to 9.

    Raises:
      UserError: there is no such data, or it is damaged.
    """
    if path.is_dir():
        images, labels = _read_folder(path, part)
    elif path.suffix == ".npz" and path.exists():
        images, labels = _read_npz(path, part)
    elif path.suffix == ".csv" and path.exists():
        table = _read_csv(path, 1 + SIDE * SIDE)
        images, labels = table[:, 1:], table[:, 0]
    elif path.exists():
        raise UserError(f"--data_path={path}: neither a folder nor a .csv or .npz file")
    else:
        raise UserError(f"--data_path={path}: no such file or folder")
    try:
        labels = _class_numbers(labels)
        return _unit_pixels(images, len(labels)), labels
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _read_folder(folder: pathlib.Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the first form of MNIST that a folder holds."""
    prefix = IDX_PREFIXES[part]
    idx_images, idx_labels = (
        f"{prefix}-images-idx3-ubyte",
        f"{prefix}-labels-idx1-ubyte",
    )
    csv_images, csv_labels = f"mnist_{part}_images.csv", f"mnist_{part}_labels.csv"
    if images := _find(folder, idx_images, f"{idx_images}.gz"):
        labels = _find(folder, idx_labels, f"{idx_labels}.gz")
        return _read_idx(images, 3), _read_idx(labels or folder / idx_labels, 1)
    if images := _find(folder, csv_images):
        return _read_csv(images, SIDE * SIDE), _read_csv(folder / csv_labels)
    if archive := _find(folder, "mnist.npz"):
        return _read_npz(archive, part)
    raise UserError(
        f"--data_path={folder}: holds none of {idx_images}, {idx_images}.gz,"
        f" {csv_images}, mnist.npz"
    )


def _find(folder: pathlib.Path, *names: str) -> pathlib.Path | None:
    """The first of these names that is there."""
    return next((folder / name for name in names if (folder / name).exists()), None)


def _read_idx(path: pathlib.Path, dimensions: int) -> np.ndarray:
    """Array of an IDX file of bytes, gzipped or not.

    Its header is 0, 0, 8 (unsigned bytes), the number of dimensions, and the size
    of each as a big-endian uint32.
    """
    try:
        data = path.read_bytes()
        if data.startswith(GZIP_MAGIC):
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged or cut short: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    magic, begin = bytes([0, 0, 8, dimensions]), 4 + 4 * dimensions
    if data[:4] != magic:
        raise UserError(
            f"{path}: not the IDX file expected: it begins with the bytes"
            f" {data[:4].hex(' ') or '(none)'}, not {magic.hex(' ')}"
        )
    if len(data) < begin:
        raise UserError(f"{path}: cut short within its header")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    if len(data) - begin != math.prod(shape):
        raise UserError(
            f"{path}: cut short or damaged: its header speaks of"
            f" {math.prod(shape):,} bytes, and {len(data) - begin:,} follow it"
        )
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)


def _read_csv(path: pathlib.Path, columns: int | None = None) -> np.ndarray:
    """Numbers of a CSV file, float32 [lines, columns]; a heading is left out.

    Args:
      path: the file.
      columns: what each line must have; None: what the first one has.
    """
    rows = []
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        cells = line.split(",")
        try:
            row = np.array([float(cell) for cell in cells], np.float32)
        except ValueError as error:
            if number == 1 and not any(map(str.isdigit, cells)):
                continue
            raise UserError(f"{path}, line {number}: {error}") from error
        columns = columns or len(row)
        if len(row) != columns:
            raise UserError(
                f"{path}, line {number}: {columns} values expected, {len(row)} found"
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: holds no numbers")
    return np.stack(rows)


def _read_npz(path: pathlib.Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Arrays x_PART and y_PART; nothing in the file is run."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[f"x_{part}"], arrays[f"y_{part}"]
    except KeyError as error:
        raise UserError(f"{path}: holds no array x_{part} or y_{part}") from error
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,  # one array that is not in an archive
        MemoryError,  # a header that speaks of more than there is
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(f"{path}: not an .npz file of plain arrays") from error


def _class_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as int64 [n], from numbers or one-hot rows; ValueError if neither."""
    if labels.dtype.kind not in "uif":
        raise ValueError("labels must be numbers")
    if labels.ndim == 2 and labels.shape[1] == CLASSES:
        if not (np.isin(labels, (0, 1)) & (labels.sum(axis=1) == 1)[:, None]).all():
            raise ValueError("a label of ten values must be zeros and a single one")
        return labels.argmax(axis=1)
    if labels.ndim == 0 or labels.size != len(labels):
        raise ValueError("a label must be one number, or ten")
    labels = labels.reshape(-1)
    if not np.isin(labels, range(CLASSES)).all():
        raise ValueError("labels must be whole numbers from 0 to 9")
    return labels.astype(np.int64)


def _unit_pixels(images: np.ndarray, count: int) -> np.ndarray:
    """Images as float32 [count, 28, 28] from 0 to 1; ValueError if they are not."""
    if images.dtype.kind not in "uif":
        raise ValueError("pixels must be numbers")
    if images.ndim == 0 or images.shape[1:] not in ((SIDE, SIDE), (SIDE * SIDE,)):
        size = " x ".join(map(str, images.shape[1:])) or "single numbers"
        raise ValueError(f"images of {SIDE} x {SIDE} pixels expected, not {size}")
    if len(images) != count:
        raise ValueError(f"{len(images):,} images and {count:,} labels")
    images = images.astype(np.float32).reshape(-1, SIDE, SIDE)
    # NaN breaks this rule too.
    if not ((images >= 0) & (images <= 255)).all():
        raise ValueError("pixels must be from 0 to 255, or from 0 to 1")
    return images / 255 if images.size and images.max() > 1 else images
