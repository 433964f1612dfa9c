"""Arrays in files, read and written a few rows at a time."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.lib.npyio import NpzFile

from stages.base.files import refuse_damaged


@contextmanager
def open_arrays(path: Path) -> Iterator[NpzFile]:
    """Open a ``.npz`` file for the block; ``np.load`` of a path would leave a damaged file open."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


class ArrayLike(Protocol):
    """An array, or a file that can be indexed like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: np.ndarray, /) -> np.ndarray: ...


class Subset:
    """Selected rows of an array.

    Args:
        rows: the whole array.
        places: indices of the selected rows, int64 (n,).
    """

    def __init__(self, rows: ArrayLike, places: np.ndarray) -> None:
        self._rows, self._places = rows, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        return self._rows[self._places[places]]


class ArrayWriter:
    """Write a ``.npy`` file batch by batch, in any order; what is in the file already stays.

    It does not map the file: mapped pages count toward the process's memory.

    Args:
        path: the file to write.
        rows: the number of rows that all batches have together.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._path, self._rows, self._next = path, rows, 0

    def add(self, batch: np.ndarray) -> None:
        """Write the next rows; every batch has the same dtype and shape."""
        self.write(self._next, batch)
        self._next += len(batch)

    def write(self, first: int, batch: np.ndarray) -> None:
        """Write the rows from ``first`` on."""
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            header = {"descr": batch.dtype.str, "fortran_order": False, "shape": (self._rows, *batch.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
            begin, size = file.tell(), batch[:1].nbytes
            file.truncate(begin + self._rows * size)  # rows that are yet to come are zeros, and take no disk
            file.seek(begin + first * size)
            file.write(np.ascontiguousarray(batch).data)


class ArrayFile:
    """A ``.npy`` file whose rows are read on demand: ``rows[places]`` with an array of indices.

    Attributes:
        shape: of the whole array.

    Raises:
        UserError: the file is missing or broken.
    """

    def __init__(self, path: Path) -> None:
        with refuse_damaged(path, "a complete array"):
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            self.shape, self._dtype, self._start = mapped.shape, mapped.dtype, mapped.offset
            self._bytes = mapped[:1].nbytes
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        rows = np.empty((len(places), *self.shape[1:]), self._dtype)
        target = rows.reshape(-1).view(np.uint8).data
        # One read for each run of consecutive rows.
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for begin, end in zip([0, *breaks], [*breaks, len(places)], strict=True):
            self._file.seek(self._start + int(places[begin]) * self._bytes)
            part = target[begin * self._bytes : end * self._bytes]
            while read := self._file.readinto(part):
                part = part[read:]
        return rows
