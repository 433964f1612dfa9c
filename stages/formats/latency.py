"""Time exported models, each in a process of its own, whose threads and memory are its alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.base.memory import read_peak_memory
from stages.formats.runner import Runner

TURNS = 10
_WARM_UP = 3  # runs before each turn, which are not timed


@dataclass
class Timed:
    """How long a model takes for one image.

    Attributes:
        name: of the format.
        threads: that it ran with.
        milliseconds: of each run.
        memory: most bytes that its process held, runtime and libraries included; None if the system does not tell.
    """

    name: str
    threads: int
    milliseconds: list[float] = field(default_factory=list)
    memory: int | None = None

    @property
    def median(self) -> float:
        """Of the runs, in milliseconds."""
        return float(np.median(self.milliseconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the runs is faster than the first, a quarter slower than the second."""
        low, high = np.quantile(self.milliseconds, [0.25, 0.75])
        return float(low), float(high)


def time_models(folder: Path, names: Sequence[str], threads: Sequence[int], runs: int) -> list[Timed]:
    """Time the files of an exported model on one image at a time.

    They take turns, so that whatever else the machine does disturbs all of them alike.

    Args:
        folder: of the exported model.
        names: of its formats.
        threads: how many each runs with, one after the other.
        runs: that are timed, of each format with each number of threads.

    Raises:
        UserError: a file cannot be run.
    """
    found = [Timed(name, count) for name in names for count in threads]
    with ExitStack() as stack:
        workers = [stack.enter_context(_start(folder, timed)) for timed in found]
        for turn in range(TURNS):
            share = runs // TURNS + (turn < runs % TURNS)
            for timed, worker in zip(found, workers, strict=True):
                worker.send(share)
                timed.milliseconds += _receive(worker)
        for timed, worker in zip(found, workers, strict=True):
            worker.send(None)
            timed.memory = _receive(worker)
    return found


@contextmanager
def _start(folder: Path, timed: Timed) -> Iterator[Connection]:
    """Start a process that runs a model, and end it with the block."""
    context = get_context("spawn")  # not a copy of this process, whose threads and memory it would inherit
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, folder, timed.name, timed.threads), daemon=True)
    process.start()
    theirs.close()
    try:
        _receive(ours)  # it is ready: the next one starts alone
        yield ours
    finally:
        ours.close()
        process.terminate()
        process.join()


def _receive(worker: Connection) -> Any:
    try:
        message = worker.recv()
    except EOFError:
        raise UserError("a process that ran a model ended before its time. Is there too little memory?") from None
    if isinstance(message, UserError):
        raise message
    return message


def serve(connection: Connection, folder: Path, name: str, threads: int) -> None:
    """Answer each number that comes with so many timed runs, in milliseconds, and None with the most memory held.

    Args:
        connection: to the process that asks.
        folder: of the exported model.
        name: of the format.
        threads: to run with.
    """
    try:
        runner = Runner(folder, name, threads)
    except UserError as error:
        connection.send(error)
        return
    size, channels = runner.contract.size, runner.contract.channels
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, channels), dtype=np.uint8)
    connection.send("ready")
    while (runs := connection.recv()) is not None:
        for _ in range(_WARM_UP):
            runner.probabilities(pixels)
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            runner.probabilities(pixels)
            times.append(1000 * (time.perf_counter() - began))
        connection.send(times)
    connection.send(read_peak_memory())
