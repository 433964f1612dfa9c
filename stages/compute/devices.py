"""What a device takes: batches of one size, whatever the number of rows; and whether there is a GPU.

No framework is imported.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np


def in_batches(run: Callable[[np.ndarray], Sequence[np.ndarray]], rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Return the outputs of ``run`` for ``rows`` (n, ...), which it gets ``size`` at a time.

    The last batch is filled up with copies of its last row, whose outputs are dropped.
    """
    parts = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append([output[: len(part)] for output in run(full)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def batch_size(numbers: int, most: int, room: int) -> int:
    """Return how many images to compute at a time: a power of two.

    Args:
        numbers: in the largest tensor of one image, float32.
        most: more are not faster.
        room: bytes that this tensor may take for all of them.
    """
    return int(min(most, 2 ** max(0, math.floor(math.log2(room / (4 * numbers))))))


@cache
def gpus() -> int:
    """Return how many NVIDIA GPUs there are that CUDA_VISIBLE_DEVICES does not hide."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
