"""What training reads: rows of inputs with their targets, from files that are read as needed."""

from typing import Protocol

import numpy as np


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
