"""What training reads: rows of inputs with their targets, in batches made ready while the step before them runs."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

AHEAD = 2  # batches that are ready or in the making


class Data(Protocol):
    """Rows to train on or to validate with.

    Attributes:
        labels: class of each row, int64 (n,).
        classes: how many classes there are.
    """

    labels: np.ndarray
    classes: int

    def __len__(self) -> int:
        """How many rows."""

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs (k, ...) and the targets, float32 shares of each class (k, classes), of ``rows``.

        ``epoch`` counts from 0; only data that differ from epoch to epoch make use of it.
        """


class Kept:
    """Inputs (n, ...) that are the same in each epoch; they may be a memory-mapped file.

    Args:
        targets: classes int64 (n,), or shares of each class float32 (n, classes).
        classes: how many.
    """

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, classes: int) -> None:
        self.classes = classes
        self.labels = targets if targets.ndim == 1 else np.argmax(targets, axis=1)
        self._inputs, self._targets = inputs, targets

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``Data``."""
        if self._targets.ndim == 2:
            return self._inputs[rows], np.asarray(self._targets[rows])
        return self._inputs[rows], np.eye(self.classes, dtype=np.float32)[self._targets[rows]]


def count(data: Data, batch_size: int) -> int:
    """Return how many batches an epoch has."""
    return -(-len(data) // batch_size)


def batches(data: Data, batch_size: int, epoch: int, seed: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go through ``data`` once: inputs and targets, as ``Data.batch`` returns them.

    Args:
        epoch: counted from 0.
        seed: of the order, which is another one in each epoch; None: the order of the rows.
    """
    order = np.arange(len(data))
    if seed is not None:
        np.random.default_rng([seed, epoch + 1]).shuffle(order)
    starts = iter(range(0, len(order), batch_size))
    queue: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
    with ThreadPoolExecutor(1) as pool:  # one, so that data need not be safe to read from several threads
        while True:
            while len(queue) < AHEAD and (start := next(starts, None)) is not None:
                rows = np.sort(order[start : start + batch_size])  # files like order
                queue.append(pool.submit(data.batch, rows, epoch))
            if not queue:
                return
            yield queue.popleft().result()
