"""Seconds and memory of a process, and a stage that runs in its own process and reports where its time went.

    python -m tests.benchmarks.measured STAGE

runs a stage in the current folder and prints one line of JSON: its name, and in seconds "imports" (until its main
began), "work" (while its outputs were open: for extract the pass over the images, after the graph was read), "fits"
(the epochs of each training) and "all".
"""

import time

BEGAN = time.perf_counter()

import argparse  # noqa: E402  (after the clock)
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from itertools import pairwise  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from stages.base.processor import name_processor  # noqa: E402
from stages.compute.backend import ENVIRONMENT  # noqa: E402


@dataclass(frozen=True)
class Measured:
    """What a process took, from its start to its end.

    Attributes:
        seconds: as the clock on the wall goes.
        cpu: seconds of all cores, which other work on the machine changes less.
        mib: most resident memory at a time, in MiB.
        said: the last line that it printed, read as JSON.
    """

    seconds: float
    cpu: float
    mib: float
    said: dict[str, Any]


def measured(module: str, *arguments: str, cwd: Path) -> Measured:
    """Run ``python -m module`` in ``cwd``, which must succeed and print JSON at the end; return what it took.

    A process starts with the peak of the one that starts it, as Linux counts: call this from a small one.
    """
    command = [sys.executable, "-m", module, *arguments]
    set_here = (*ENVIRONMENT, "KERAS_BACKEND")  # for tests
    own = {name: value for name, value in os.environ.items() if name not in set_here}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=own, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
    assert process.returncode == 0, f"{' '.join(command)} exited {process.returncode}:\n{texts[0]}{texts[1]}"
    return Measured(
        seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(texts[0].splitlines()[-1])
    )


def stage(here: Path, name: str) -> Measured:
    """Run a stage of the project in ``here``; ``said`` holds what this command prints."""
    return measured("tests.benchmarks.measured", name, cwd=here)


def processor() -> str:
    """Return the number of cores and the name of the processor, on which the numbers depend."""
    return f"processor: {os.cpu_count()} cores of {name_processor()}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned lines: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def main() -> None:
    """Run a stage whose work and trainings are timed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.measured")
    parser.add_argument("stage")
    name = parser.parse_args().stage
    from stages.base import folders

    said: dict[str, Any] = {"stage": name, "work": 0.0, "fits": []}
    replace_folder = folders.replace_folder

    @contextmanager
    def timed(folder: Path) -> Iterator[Path]:
        began = time.perf_counter()
        with replace_folder(folder) as partial:
            yield partial
        said["work"] += time.perf_counter() - began

    folders.replace_folder = timed
    if name in ("pretrain", "finetune"):  # they import the framework after reading params
        time_epochs(said["fits"])
    # Only now: a stage takes the names that are replaced above when it is imported.
    script = importlib.import_module(f"stages.{name}")
    said["imports"] = time.perf_counter() - BEGAN
    script.main()
    print(json.dumps(said | {"all": time.perf_counter() - BEGAN}))


def time_epochs(fits: list[list[float]]) -> None:
    """Make each training add the seconds of its epochs to ``fits``; the first includes all preparation."""
    from stages.compute import runtime  # noqa: F401  (first: it imports the framework quietly)
    from stages.training import train

    fit, check_losses, ends = train.fit, train.check_losses, list[float]()

    def timed_check(*arguments: Any) -> None:  # at the end of each epoch
        ends.append(time.perf_counter())
        check_losses(*arguments)

    def timed_fit(*arguments: Any, **options: Any) -> Any:
        ends.clear()
        began = time.perf_counter()
        result = fit(*arguments, **options)
        fits.append([end - begin for begin, end in pairwise([began, *ends[:-1], time.perf_counter()])])
        return result

    train.fit, train.check_losses = timed_fit, timed_check


def settled(epochs: Sequence[float]) -> float:
    """Return the seconds of all epochs; the first, which compiles, counts at most as the median of the others."""
    first, *others = epochs
    return sum(others) + min(first, statistics.median(others or [first]))


if __name__ == "__main__":
    main()
