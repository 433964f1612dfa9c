"""How much memory is available."""

from contextlib import suppress
from pathlib import Path

_SYSTEM, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
_PROCESS = Path("/proc/self/status")


def read_available_memory() -> int | None:
    """Return the bytes that programs can still allocate, at most a container's limit; None if not on Linux."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = _SYSTEM.read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with suppress(OSError, ValueError):  # "max" without a limit
        found.append(int(_CONTAINER.read_text()))
    return min(found, default=None)


def read_peak_memory() -> int | None:
    """Return the most bytes that this process has held at a time; None if not on Linux."""
    with suppress(OSError, ValueError, StopIteration):
        lines = _PROCESS.read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return None
