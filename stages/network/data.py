"""What training reads: rows of inputs with their targets, from files that are read as needed."""

from pathlib import Path
from typing import Protocol

import numpy as np

from stages.network.fresh import Fresh
from stages.network.kept import Description, read_rows


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


def read_data(folder: Path, split: str, what: str, description: Description) -> Data | None:
    """Return what ``extract`` kept of a split; None where the split has no images.

    Args:
        folder: where it was written.
        split: ``train`` or ``val``.
        what: ``features`` (for the head) or ``activations`` (for the thawed layers); where views are fresh, both are
            the pixels.
        description: of what was kept.
    """
    if description.fresh is not None:
        what = "activations"
    path = folder / f"{split}_{what}.npy"
    if not path.exists():
        return None
    inputs, classes = read_rows(path), len(description.classes)
    shares = folder / f"{split}_targets.npy"
    if shares.exists():
        return Kept(inputs, read_rows(shares), classes)
    labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
    if description.fresh is not None and split == "train":
        return Fresh(inputs, labels, classes, description.fresh["augment"], description.fresh["seed"])
    return Kept(inputs, labels, classes)
