"""What ``extract`` hands on: the frozen part's outputs for every image and view, in files that are read as needed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    """

    frozen: int
    layers: int
    layer: str | None
    pooling: str
    classes: list[str]
    contract: dict[str, Any]


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


class Rows:
    """A ``.npy`` file of ``rows`` rows that is written batch by batch, so that memory holds one batch."""

    def __init__(self, path: Path, rows: int) -> None:
        self._path, self._rows, self._next = path, rows, 0
        self._file: np.memmap | None = None

    def add(self, batch: np.ndarray) -> None:
        """Write the next rows; the first batch sets dtype and shape."""
        if self._file is None:
            shape = (self._rows, *batch.shape[1:])
            self._file = np.lib.format.open_memmap(self._path, mode="w+", dtype=batch.dtype, shape=shape)
        self._file[self._next : self._next + len(batch)] = batch
        self._next += len(batch)


def read_rows(path: Path) -> np.ndarray:
    """Return the array in ``path``, mapped into memory: rows are read from disk when they are used."""
    rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows
