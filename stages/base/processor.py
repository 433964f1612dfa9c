"""The processor: how many of its cores this process uses, and which instruction sets it has."""

import os
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Instruction sets by which libraries choose how to compute, and so the last digits of results.
_SETS = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "i8mm", "sse4", "sve")
_limit: int | None = None


def count_cores() -> int:
    """Return how many cores this process may keep busy."""
    return _limit or os.cpu_count() or 1


def limit_cores(count: int) -> None:
    """Let this process use ``count`` cores, because others use the rest."""
    global _limit
    _limit = count


def name_processor() -> str:
    """Return the name of the processor, such as "Intel(R) Xeon(R) Processor @ 2.10GHz"."""
    names = [line.partition(":")[2].strip() for line in _read_cpuinfo() if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def describe_processor() -> str:
    """Return the architecture and the instruction sets, such as "x86_64 avx avx2 fma": one kind of processor."""
    lines = _read_cpuinfo()
    flags = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return " ".join([platform.machine(), *sorted(flag for flag in set(flags.split()) if flag.startswith(_SETS))])


def _read_cpuinfo() -> list[str]:
    try:
        return _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return []
