"""What ``extract`` hands on: the frozen part's outputs for every image and view, and what they take on disk."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.base.files import read_json, refuse_damaged
from stages.base.terminal import format_size
from stages.compute.architecture import FEATURES, PIXELS, Architecture
from stages.transfer.freeze import Depth


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
            images, and in ``fresh.json`` what draws the views (see ``stages.training.augmentation``).
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
    with refuse_damaged(path, "a description of activations"):
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
    said = f"what is kept takes {format_size(needed)} of disk; {format_size(free)} are free"
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
