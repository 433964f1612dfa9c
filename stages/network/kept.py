"""What ``extract`` hands on: the frozen part's outputs for every image and view, in files that are read as needed."""

import json
import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.base.files import read_json, reading
from stages.base.stage import UserError
from stages.network.architecture import Architecture

PIXELS, FEATURES = "pixels", "features"  # what is kept that no layer of the backbone puts out


def pooled(how: str) -> str:
    """Return the name of the features in the backbone's graph, which has them in each way of pooling."""
    return f"{FEATURES}_{how}"


AS_EXTRACTED = "extract"  # in finetune.thawed.freeze: the depth of extract.freeze


@dataclass(frozen=True)
class Depth:
    """A depth of freezing, and where its activations are kept.

    Attributes:
        frozen: how many of the backbone's layers are frozen, from the front.
        layer: the layer whose output is kept as activations: the deepest that every path from input to output goes
            through and that has only frozen layers up to it. (It may be an operation such as the ``x + y`` of ConvNeXt,
            which Keras does not count among the layers.) None where that is the input, so that pixels are kept.
    """

    frozen: int
    layer: str | None

    @property
    def kept(self) -> str:
        """The name of the activations that are kept: SPLIT_KEPT.npy holds them. Depths may share them."""
        return PIXELS if self.layer is None else self.layer


@dataclass(frozen=True)
class Description:
    """What the kept arrays are.

    Attributes:
        depths: all that can be trained from them; the first is that of ``extract.freeze``.
        layers: how many layers the backbone has.
        pooling: how feature maps became the features.
        classes: names, in the order of the labels.
        contract: how an image file became pixels, as the plain fields of ``stages.images.contract.Contract``.
        fresh: whether new views are drawn in every epoch. Then nothing is kept to train from but the pixels of the
            images, and in ``fresh.json`` what draws the views (see ``stages.network.fresh``).
    """

    depths: list[Depth]
    layers: int
    pooling: str
    classes: list[str]
    contract: dict[str, Any]
    fresh: bool

    @property
    def files(self) -> list[str]:
        """What is kept of each view for training."""
        return [PIXELS] if self.fresh else self.outputs

    def trains_from(self, depth: Depth) -> str:
        """Return what is read to train the layers that are thawed at ``depth``: features, where there are none."""
        if self.fresh:
            return PIXELS
        return depth.kept if depth.frozen < self.layers else FEATURES

    @property
    def outputs(self) -> list[str]:
        """What a pass over the images gives: at each depth that thaws something its activations, and the features."""
        return list(dict.fromkeys([*(d.kept for d in self.depths if d.frozen < self.layers), FEATURES]))


def write_description(folder: Path, description: Description) -> None:
    """Write ``boundary.json``."""
    text = json.dumps(asdict(description), indent=2, ensure_ascii=False) + "\n"
    (folder / "boundary.json").write_text(text, encoding="utf-8")


def read_description(folder: Path) -> Description:
    """Read ``boundary.json``.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / "boundary.json"
    content = read_json(path)
    with reading(path, "a description of activations"):
        return Description(**{**content, "depths": [Depth(**depth) for depth in content["depths"]]})


def bytes_needed(shape: Sequence[int], dtype: str, rows: int) -> int:
    """Return how many bytes ``rows`` arrays of a shape and a NumPy dtype take."""
    return rows * math.prod(shape) * np.dtype(dtype).itemsize


def shapes(
    names: Sequence[str], backbone: Architecture, pooling: str, precision: str
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and dtype of what is kept of one view, by its name.

    Args:
        names: such as ``Description.files``.
        backbone: that puts it out.
        pooling: how feature maps become features.
        precision: dtype of the activations.
    """
    known = {PIXELS: (backbone.pixels, "uint8"), FEATURES: ((backbone.features(pooling),), "float32")}
    return {name: known[name] if name in known else (backbone.shape(name), precision) for name in names}


def room(kept: Mapping[str, tuple[tuple[int, ...], str]], rows: int, free: int, less: str) -> str:
    """Say how much disk ``rows`` of what is kept (see ``shapes``) take, of so many ``free`` bytes.

    Args:
        less: how to keep less, in words.

    Raises:
        UserError: it does not fit.
    """
    needed = sum(bytes_needed(shape, dtype, rows) for shape, dtype in kept.values())
    said = f"what is kept takes {readable(needed)} of disk; {readable(free)} are free"
    if needed > free:
        raise UserError(f"{said}. Free some, or keep less: {less}, fewer extract.depths, or another extract.freeze.")
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


def readable(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


class Rows(Protocol):
    """An array, or a file that is read like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: np.ndarray, /) -> np.ndarray: ...


class Subset:
    """Some rows of many.

    Args:
        rows: all of them.
        places: of those meant, int64 (n,).
    """

    def __init__(self, rows: Rows, places: np.ndarray) -> None:
        self._rows, self._places = rows, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        return self._rows[self._places[places]]


class RowWriter:
    """A ``.npy`` file of ``rows`` rows that is written batch by batch.

    Written, not mapped: pages of a mapped file count as the process's memory, however large the file.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._path, self._rows, self._begun = path, rows, False

    def add(self, batch: np.ndarray) -> None:
        """Write the next rows; the first batch sets dtype and shape."""
        with self._path.open("ab" if self._begun else "wb") as file:
            if not self._begun:
                header = {"descr": batch.dtype.str, "fortran_order": False, "shape": (self._rows, *batch.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
                self._begun = True
            file.write(np.ascontiguousarray(batch).data)


class StoredRows:
    """The rows of a ``.npy`` file, read when they are asked for: ``rows[places]`` for an array of places.

    Attributes:
        shape: of all rows together.

    Raises:
        UserError: the file is missing or broken.
    """

    def __init__(self, path: Path) -> None:
        with reading(path, "a whole array of rows"):
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            self.shape, self._dtype, self._start = mapped.shape, mapped.dtype, mapped.offset
            self._bytes = mapped[:1].nbytes
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)  # it is open as long as there are rows to read

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        rows = np.empty((len(places), *self.shape[1:]), self._dtype)
        target = rows.reshape(-1).view(np.uint8).data
        # Neighbours are read at once.
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for begin, end in zip([0, *breaks], [*breaks, len(places)], strict=True):
            self._file.seek(self._start + int(places[begin]) * self._bytes)
            part = target[begin * self._bytes : end * self._bytes]
            while read := self._file.readinto(part):
                part = part[read:]
        return rows
