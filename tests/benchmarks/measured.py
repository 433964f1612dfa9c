"""Seconds and memory of a process; and a stage in a process of its own that says how long its work took.

    python -m tests.benchmarks.measured STAGE

runs a stage in the current folder, and prints one line of JSON: how many seconds it worked on its outputs (importing
and building networks apart), and how many each training took.
"""

import argparse
import importlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.copies import own_environment


@dataclass(frozen=True)
class Measured:
    """What a process took, from its start to its end.

    Attributes:
        seconds: as the clock on the wall goes.
        mib: most resident memory at a time, in MiB.
        output: what it printed.
    """

    seconds: float
    mib: float
    output: str

    @property
    def said(self) -> dict[str, Any]:
        """The last line of JSON that it printed."""
        line = next(line for line in reversed(self.output.splitlines()) if line.startswith("{"))
        result: dict[str, Any] = json.loads(line)
        return result


def measured(*command: str, cwd: Path) -> Measured:
    """Run a command in ``cwd``, which must succeed, and return what it took.

    Linux counts the memory of the process that starts another as that one's own: keep it small.
    """
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=own_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    assert process.returncode == 0, f"{' '.join(command)} exited {process.returncode}:\n{text}"
    return Measured(seconds, usage.ru_maxrss / 1024, text)


def stage(here: Path, name: str) -> Measured:
    """Run a stage of the project in ``here``; ``said`` holds its "work" and "fits", in seconds."""
    return measured("python", "-m", "tests.benchmarks.measured", name, cwd=here)


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
    from stages.base import stage as base

    said: dict[str, Any] = {"work": 0.0, "fits": []}
    whole = base.whole

    @contextmanager
    def timed_whole(folder: Path) -> Iterator[Path]:
        began = time.perf_counter()
        with whole(folder) as partial:
            yield partial
        said["work"] += time.perf_counter() - began

    base.whole = timed_whole
    if name == "finetune":
        from stages.network import runtime, train  # noqa: F401  (runtime first: it imports the framework quietly)

        train.fit = timed(train.fit, said["fits"])
    # Only now: a stage takes the names that are replaced above when it is imported.
    importlib.import_module(f"stages.{name}").main()
    print(json.dumps(said))


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """Return ``function``, which from now on adds what each call takes to ``seconds``."""

    def run(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **options)
        seconds.append(time.perf_counter() - began)
        return result

    return run


if __name__ == "__main__":
    main()
