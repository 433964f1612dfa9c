"""Open files of arrays."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile


@contextmanager
def open_arrays(path: Path) -> Iterator[NpzFile]:
    """Open a ``.npz`` file within the block: np.load leaves a damaged file open that it opens itself."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays
