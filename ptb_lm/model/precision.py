"""Mixed precision: matrix products in another type, everything else in float32.

The products of bfloat16 factors are summed in float32 by the hardware and rounded
once; states, gates, the softmax, the loss, its sums, and the weights stay float32.
bfloat16 has float32's range, so the loss needs no scaling (Kalamkar et al. 2019).
"""

import pathlib

import tensorflow as tf

from ptb_lm.errors import UserError

# What Linux calls the instructions, on x86 and on Arm.
_CPU_FEATURES = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}


def cast(factor: tf.Tensor, dtype: str | None) -> tf.Tensor:
    """A factor in the type that it is multiplied in; None: its own."""
    return factor if dtype is None else tf.cast(factor, dtype)


def matmul(a: tf.Tensor, b: tf.Tensor, **options: bool) -> tf.Tensor:
    """`tf.matmul`; if one factor is bfloat16, a bfloat16 product as float32.

    The caller casts a factor that is multiplied more than once, so that it is cast
    once.
    """
    if tf.bfloat16 not in (a.dtype, b.dtype):
        return tf.matmul(a, b, **options)
    product = tf.matmul(tf.cast(a, tf.bfloat16), tf.cast(b, tf.bfloat16), **options)
    return tf.cast(product, tf.float32)


def check_dtype(dtype: str) -> None:
    """Raises UserError where the hardware cannot multiply in a type."""
    if dtype != "bfloat16":
        return
    gpus = tf.config.get_visible_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        if details.get("compute_capability", (0, 0)) < (8, 0):
            raise UserError(
                f"--dtype={dtype}: the GPU {details.get('device_name', gpu.name)} has"
                " no such arithmetic (compute capability 8.0); use --dtype=float32"
            )
    if not gpus and not _CPU_FEATURES & _cpu_features():
        raise UserError(
            f"--dtype={dtype}: this processor has no such instructions"
            " (AVX-512 BF16, AMX); use --dtype=float32"
        )


def _cpu_features() -> set[str]:
    """Features of the processor as Linux lists them; none elsewhere."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {
        feature
        for line in lines
        if line.startswith(("flags", "Features"))
        for feature in line.partition(":")[2].split()
    }
