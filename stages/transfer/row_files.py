"""Arrays in files, written a range of rows at a time and in any order, with a log from which a later run resumes."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from stages.base.arrays import ArrayFile, ArrayWriter
from stages.base.errors import UserError


class RowFiles:
    """The files FOLDER/PREFIXNAME.npy, all with the same number of rows.

    The log lists the ranges that were written, each with a hash of its rows, so that nothing half written counts.

    Args:
        folder: it may hold what an interrupted run has written.
        prefix: of the names.
        rows: of each array.
    """

    def __init__(self, folder: Path, prefix: str, rows: int) -> None:
        self._folder, self._prefix, self._rows = folder, prefix, rows
        self._log = folder / f"{prefix}rows.log"

    def write(self, first: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the rows from ``first`` on: always arrays of the same names."""
        for name, values in arrays.items():
            ArrayWriter(self._path(name), self._rows).write(first, values)
        count = len(next(iter(arrays.values())))
        with self._log.open("a", encoding="ascii") as file:
            file.write(f"{first} {count} {_hash(arrays)}\n")

    def find_missing(self, unit: int) -> list[tuple[int, int]]:
        """Return the ranges (first row, row after the last) that are yet to be written, in whole units of rows."""
        done = np.zeros(self._rows, dtype=bool)
        for first, last in self._read_log():
            done[first:last] = True
        units = np.logical_and.reduceat(done, np.arange(0, self._rows, unit))
        edges = np.flatnonzero(np.diff(units, prepend=True, append=True)) * unit
        return [(int(first), min(int(last), self._rows)) for first, last in zip(edges[::2], edges[1::2], strict=True)]

    def move(self, folder: Path) -> None:
        """Move the files, which are complete, into another folder."""
        for path in self._folder.glob(f"{self._prefix}*.npy"):
            path.rename(folder / path.name)
        self._log.unlink()

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._prefix}{name}.npy"

    def _read_log(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges of rows that are in all files as they were written."""
        lines = self._log.read_text(encoding="ascii", errors="replace").splitlines() if self._log.exists() else []
        with suppress(UserError):  # of a damaged file nothing counts
            paths = self._folder.glob(f"{self._prefix}*.npy")
            files = {path.stem.removeprefix(self._prefix): ArrayFile(path) for path in paths}
            for line in lines:
                with suppress(ValueError):  # a line that was cut
                    first, count, known = line.split()
                    places = np.arange(int(first), int(first) + int(count))
                    if _hash({name: file[places] for name, file in files.items()}) == known:
                        yield int(first), int(first) + int(count)


def _hash(arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for name in sorted(arrays):
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()
