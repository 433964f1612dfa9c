"""Batches of one size, whatever the number of rows; the size of batches; the number of GPUs. Imports no framework."""

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np


def run_in_batches(run: Callable[[np.ndarray], Sequence[np.ndarray]], rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Return the outputs of ``run`` for all rows.

    The last batch is padded with copies of its last row, whose outputs are dropped.

    Args:
        run: from a batch to its outputs.
        rows: (n, ...).
        size: of a batch.
    """
    parts = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append([output[: len(part)] for output in run(full)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def fit_batch_size(numbers: int, most: int, room: int) -> int:
    """Return how many images to compute at a time: a power of two.

    Args:
        numbers: in the largest tensor of one image, float32.
        most: images; more are not faster.
        room: bytes of memory for that tensor of all images.
    """
    return int(min(most, 2 ** max(0, math.floor(math.log2(room / (4 * numbers))))))


@cache
def count_gpus() -> int:
    """Return how many NVIDIA GPUs there are, without those that CUDA_VISIBLE_DEVICES hides."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
