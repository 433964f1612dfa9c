"""What ``extract`` hands on: activations and features of every image and view, and the disk space they take."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.base.files import read_json, refuse_damaged
from stages.base.terminal import format_size
from stages.compute.architecture import FEATURES, PIXELS, Architecture
from stages.transfer.freeze import Depth

Shapes = Mapping[str, tuple[tuple[int, ...], str]]  # shape and dtype of one view, by name


@dataclass(frozen=True)
class Description:
    """What the stored arrays are.

    Attributes:
        depths: those that can be trained; the first is that of ``extract.freeze``.
        layers: how many layers the backbone has.
        pooling: how feature maps became the features.
        classes: names, in the order of the labels.
        contract: how an image file became pixels, as the plain fields of ``stages.images.contract.Contract``.
        fresh: whether each epoch draws new views. Then only the pixels of the images are stored to train from, and
            ``fresh.json`` says what draws the views (see ``stages.training.augmentation``).
    """

    depths: list[Depth]
    layers: int
    pooling: str
    classes: list[str]
    contract: dict[str, Any]
    fresh: bool

    @property
    def files(self) -> list[str]:
        """Names of the arrays that are stored of each view for training."""
        return [PIXELS] if self.fresh else self.outputs

    def trains_from(self, depth: Depth) -> str:
        """Return the name of the array that thawed layers train from at ``depth``; features if nothing is thawed."""
        if self.fresh:
            return PIXELS
        return depth.tensor if depth.frozen < self.layers else FEATURES

    @property
    def outputs(self) -> list[str]:
        """Names of all outputs of the frozen part: activations at each depth that thaws something, and features."""
        return list(dict.fromkeys([*(d.tensor for d in self.depths if d.frozen < self.layers), FEATURES]))


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
    with refuse_damaged(path, "a description of activations"):
        return Description(**{**content, "depths": [Depth(**depth) for depth in content["depths"]]})


def describe_depths(description: Description, shapes: Shapes) -> Iterator[str]:
    """Yield a line for each depth: what it freezes, and what is stored for it.

    Args:
        description: of the arrays.
        shapes: from ``tensor_shapes``.
    """
    for depth in description.depths:
        name = description.trains_from(depth)
        stored = f"the {name}" if name in (FEATURES, PIXELS) else f"the output of {name}"
        shape = " x ".join(map(str, shapes[name][0]))
        yield f"{depth.frozen} of {description.layers} layers frozen; stored: {stored}, {shape}"


def tensor_shapes(names: Sequence[str], architecture: Architecture, pooling: str, precision: str) -> Shapes:
    """Return shape and dtype of what is stored of one view, by name.

    Args:
        names: such as ``Description.files``.
        architecture: of the backbone.
        pooling: how feature maps become features.
        precision: dtype of the activations.
    """
    known = {PIXELS: (architecture.pixels, "uint8"), FEATURES: ((architecture.features(pooling),), "float32")}
    return {name: known[name] if name in known else (architecture.shape(name), precision) for name in names}


def bytes_needed(shape: Sequence[int], dtype: str, rows: int) -> int:
    """Return how many bytes arrays take.

    Args:
        shape: of one.
        dtype: of NumPy.
        rows: how many.
    """
    return rows * math.prod(shape) * np.dtype(dtype).itemsize


def check_disk_space(shapes: Shapes, rows: int, free: int, remedy: str) -> str:
    """Return a line that says how much disk space the stored arrays take.

    Args:
        shapes: from ``tensor_shapes``.
        rows: how many views.
        free: bytes on the disk.
        remedy: how to store less, in words.

    Raises:
        UserError: they do not fit.
    """
    needed = sum(bytes_needed(shape, dtype, rows) for shape, dtype in shapes.values())
    line = f"the stored arrays take {format_size(needed)} of disk; {format_size(free)} are free"
    if needed > free:
        raise UserError(
            f"{line}. Free some space, or store less: {remedy}, fewer extract.depths, or another extract.freeze."
        )
    return line


def cast(values: np.ndarray, precision: str) -> np.ndarray:
    """Return activations in the precision they are stored in.

    Raises:
        UserError: they are too large for it.
    """
    with np.errstate(over="ignore"):
        rounded = values.astype(precision)
    if not np.isfinite(rounded).all():
        raise UserError(
            f"extract.precision: {precision} cannot hold activations of {np.abs(values).max():.3g}. Set it to float32."
        )
    return rounded
