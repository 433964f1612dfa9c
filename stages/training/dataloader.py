"""What training reads: rows of inputs with their targets, in batches made ready while the steps before them run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.base.arrays import ArrayLike
from stages.base.prefetch import prefetch

# Bytes of inputs that are handed to the backend at once: a tiny head then takes all steps of an epoch in one call.
CHUNK = 2**24


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
    """Inputs (n, ...) that are the same in each epoch; they may be in a file.

    Args:
        targets: classes int64 (n,), or shares of each class float32 (n, classes).
        classes: how many.
    """

    def __init__(self, inputs: ArrayLike, targets: np.ndarray, classes: int) -> None:
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


@dataclass(frozen=True)
class Chunk:
    """Batches of one size, for several steps of a training.

    Attributes:
        inputs: (steps, n, ...).
        targets: shares of each class, float32 (steps, n, classes).
        shares: of each row in its batch, float32 (steps, n): 1 / rows, and 0 for rows that only fill up.
        rows: how many rows of each step do not, int64 (steps,).
    """

    inputs: np.ndarray
    targets: np.ndarray
    shares: np.ndarray
    rows: np.ndarray


def count(data: Data, batch_size: int) -> int:
    """Return how many batches an epoch has."""
    return -(-len(data) // batch_size)


def chunks(data: Data, batch_size: int, epoch: int, seed: int, multiple: int, fill: bool) -> Iterator[Chunk]:
    """Go through ``data`` once in batches, as many at a time as CHUNK allows; the next are made meanwhile.

    Args:
        epoch: counted from 0.
        seed: of the order, which is another one in each epoch.
        multiple: what the rows of a batch must be a multiple of: the number of devices.
        fill: whether a smaller last batch is filled up, so that all batches have one size. Where rows that do not count
            would not be the same as none (in BatchNormalization that learns), it gets a chunk of its own.
    """
    return prefetch(_chunks(data, batch_size, epoch, seed, multiple, fill), 2)


def _chunks(data: Data, batch_size: int, epoch: int, seed: int, multiple: int, fill: bool) -> Iterator[Chunk]:
    order = np.arange(len(data))
    np.random.default_rng([seed, epoch + 1]).shuffle(order)
    held: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(order), batch_size):
        rows = np.sort(order[start : start + batch_size])  # files like order
        inputs, targets = data.batch(rows, epoch)
        size = -(-(batch_size if fill else len(rows)) // multiple) * multiple
        places = np.minimum(np.arange(size), len(rows) - 1)  # filled up with copies of the last row
        shares = np.where(np.arange(size) < len(rows), 1 / len(rows), 0).astype(np.float32)
        if held and (size != len(held[0][0]) or len(held) * held[0][0].nbytes >= CHUNK):
            yield _together(held)
            held = []
        held.append((inputs[places], targets[places], shares))
    yield _together(held)


def _together(batches: Sequence[tuple[np.ndarray, ...]]) -> Chunk:
    inputs, targets, shares = (np.stack(part) for part in zip(*batches, strict=True))
    return Chunk(inputs, targets, shares, np.count_nonzero(shares, axis=1))
