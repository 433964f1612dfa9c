"""Load training data: inputs with their targets, in batches that are prefetched while training runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.base.arrays import ArrayLike
from stages.base.prefetch import prefetch

# Bytes of inputs that the backend gets in one call: for a small head, all steps of an epoch.
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

        ``epoch`` counts from 0; only data that differ from epoch to epoch use it.
        """


class ArrayData:
    """``Data`` that is the same in each epoch.

    Args:
        inputs: (n, ...), in memory or in a file.
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
    """Batches of one size, for several training steps.

    Attributes:
        inputs: (steps, n, ...).
        targets: shares of each class, float32 (steps, n, classes).
        weights: of each row in its batch, float32 (steps, n): 1 / rows, and 0 for padding.
        rows: how many rows of each step are not padding, int64 (steps,).
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    rows: np.ndarray


def count_batches(data: Data, batch_size: int) -> int:
    """Return how many batches an epoch has."""
    return -(-len(data) // batch_size)


def iterate_chunks(data: Data, batch_size: int, *, epoch: int, seed: int, multiple: int, pad: bool) -> Iterator[Chunk]:
    """Yield ``data`` once in batches, as many at a time as CHUNK allows; the next chunks are prefetched.

    Args:
        data: to train on.
        batch_size: rows of a batch.
        epoch: counted from 0.
        seed: of the order, which differs from epoch to epoch.
        multiple: that the rows of a batch must be a multiple of: the number of devices.
        pad: whether a smaller last batch is padded, so that all batches have one size. If padding would change the
            results (a BatchNormalization that trains), the last batch becomes a chunk by itself.
    """
    return prefetch(_make_chunks(data, batch_size, epoch=epoch, seed=seed, multiple=multiple, pad=pad), 2)


def _make_chunks(data: Data, batch_size: int, *, epoch: int, seed: int, multiple: int, pad: bool) -> Iterator[Chunk]:
    order = np.arange(len(data))
    np.random.default_rng([seed, epoch + 1]).shuffle(order)
    batches: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(order), batch_size):
        rows = np.sort(order[start : start + batch_size])  # files are read faster in order
        inputs, targets = data.batch(rows, epoch)
        size = -(-(batch_size if pad else len(rows)) // multiple) * multiple
        places = np.minimum(np.arange(size), len(rows) - 1)  # padded with copies of the last row
        weights = np.where(np.arange(size) < len(rows), 1 / len(rows), 0).astype(np.float32)
        if batches and (size != len(batches[0][0]) or len(batches) * batches[0][0].nbytes >= CHUNK):
            yield _stack(batches)
            batches = []
        batches.append((inputs[places], targets[places], weights))
    yield _stack(batches)


def _stack(batches: Sequence[tuple[np.ndarray, ...]]) -> Chunk:
    inputs, targets, weights = (np.stack(part) for part in zip(*batches, strict=True))
    return Chunk(inputs, targets, weights, np.count_nonzero(weights, axis=1))
