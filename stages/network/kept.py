"""What ``extract`` hands on: the frozen part's outputs for every image and view, in files that are read as needed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stages.base.stage import UserError


@dataclass(frozen=True)
class Description:
    """What the kept arrays are.

    Attributes:
        frozen: how many of the backbone's layers are frozen, from the front.
        layers: how many it has.
        layer: the layer whose output is kept as activations; None where these are the pixels.
        pooling: how feature maps became the features.
        classes: names, in the order of the labels.
        contract: how an image file became pixels, as the plain fields of ``stages.images.load.Contract``.
        fresh: None where every view is kept; else what draws new ones in every epoch: "augment", the plain fields of
            ``stages.schema.extract.Augment``, and "seed". Then nothing is kept but the pixels of the images.
    """

    frozen: int
    layers: int
    layer: str | None
    pooling: str
    classes: list[str]
    contract: dict[str, Any]
    fresh: dict[str, Any] | None = None


def write_description(folder: Path, description: Description) -> None:
    """Write ``boundary.json``."""
    text = json.dumps(asdict(description), indent=2, ensure_ascii=False) + "\n"
    (folder / "boundary.json").write_text(text, encoding="utf-8")


def read_description(folder: Path) -> Description:
    """Read ``boundary.json``.

    Raises:
        UserError: it is not there.
    """
    try:
        return Description(**json.loads((folder / "boundary.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no kept activations. Run `dvc repro extract`, or `dvc pull`.") from None


def bytes_needed(shape: Sequence[int], dtype: str, rows: int) -> int:
    """Return how many bytes ``rows`` arrays of a shape and a NumPy dtype take."""
    return rows * math.prod(shape) * np.dtype(dtype).itemsize


def shapes(
    description: Description, outputs: Sequence[tuple[int, ...]], precision: str
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and dtype of what is kept of one view: ``features`` and ``activations``, where there are any.

    Args:
        description: of what is kept.
        outputs: shapes of the activations at the boundary (or of the pixels) and of the features.
        precision: dtype of the activations.
    """
    kept, features = outputs
    if description.fresh is not None:
        return {"activations": (kept, "uint8")}
    files = {"features": (features, "float32")}
    if description.frozen < description.layers:
        files["activations"] = (kept, precision if description.layer else "uint8")
    return files


def room(kept: Mapping[str, tuple[tuple[int, ...], str]], rows: int, free: int) -> str:
    """Say how much disk ``rows`` of what is kept (see ``shapes``) take, of so many ``free`` bytes.

    Raises:
        UserError: it does not fit.
    """
    needed = sum(bytes_needed(shape, dtype, rows) for shape, dtype in kept.values())
    said = f"what is kept takes {_readable(needed)} of disk; {_readable(free)} are free"
    if needed > free:
        raise UserError(
            f"{said}. Free some, or keep less: fewer extract.views (fresh keeps the pixels alone), extract.precision: "
            "float16, or another extract.freeze."
        )
    return said


def stored(values: np.ndarray, precision: str) -> np.ndarray:
    """Return activations in the precision they are kept in.

    Raises:
        UserError: it cannot hold them.
    """
    with np.errstate(over="ignore"):
        rounded = values.astype(precision)
    if not np.isfinite(rounded).all():
        raise UserError(
            f"extract.precision: {precision} cannot hold activations of {np.abs(values).max():.3g}. Set it to float32."
        )
    return rounded


def _readable(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


class Rows:
    """A ``.npy`` file of ``rows`` rows that is written batch by batch.

    Written, not mapped: pages of a mapped file count as the process's memory, however large the file.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._path, self._rows, self._missing = path, rows, rows
        self._file: BinaryIO | None = None

    def add(self, batch: np.ndarray) -> None:
        """Write the next rows; the first batch sets dtype and shape, the last closes the file."""
        if self._file is None:
            self._file = self._path.open("wb")
            header = {"descr": batch.dtype.str, "fortran_order": False, "shape": (self._rows, *batch.shape[1:])}
            np.lib.format.write_array_header_1_0(self._file, header)
        self._file.write(np.ascontiguousarray(batch).data)
        self._missing -= len(batch)
        if not self._missing:
            self._file.close()


class StoredRows:
    """The rows of a ``.npy`` file, read when they are asked for: ``rows[places]`` for an array of places.

    Attributes:
        shape: of all rows together.
    """

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        self.shape, self._dtype, self._start = mapped.shape, mapped.dtype, mapped.offset
        self._bytes = mapped[:1].nbytes
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        rows = np.empty((len(places), *self.shape[1:]), self._dtype)
        target = memoryview(rows.reshape(len(places), -1)).cast("B") if rows.size else memoryview(b"")
        # Neighbours are read at once.
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for begin, end in zip([0, *breaks], [*breaks, len(places)], strict=True):
            self._file.seek(self._start + int(places[begin]) * self._bytes)
            part = target[begin * self._bytes : end * self._bytes]
            while read := self._file.readinto(part):
                part = part[read:]
        return rows
