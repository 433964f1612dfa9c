"""Whether this machine has an NVIDIA GPU, asked of its driver: no framework is imported."""

import ctypes
from functools import cache


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
