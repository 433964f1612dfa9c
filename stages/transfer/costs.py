"""What a depth of freezing means, layer by layer, and what keeping its activations costs on disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.base.table import format_table
from stages.base.terminal import format_size
from stages.compute.architecture import FEATURES, PIXELS, Architecture
from stages.transfer.activations import bytes_needed, shapes
from stages.transfer.freeze import Depth, layer_table

COLUMNS: tuple[str, ...] = ("index", "block", "name", "type", "output", "parameters", "state")


@dataclass(frozen=True)
class Images:
    """How many images there are.

    Attributes:
        train: images in the training split; None where that is not known before the split is made.
        val: likewise in the validation split.
        test: likewise in the test split.
        views: versions kept of each training image; 0 where they are drawn anew in each epoch, from stored pixels.
        origin: where the counts are from, in words.
    """

    train: int | None
    val: int | None
    test: int | None
    views: int
    origin: str


def layer_lines(backbone: Architecture, frozen: int, train_batchnorm: bool) -> list[str]:
    """Return the lines of the table of layers, with a rule between the frozen and the thawed."""
    starts = {first: block for block, first in backbone.blocks.items()}
    table = layer_table(backbone, frozen, train_batchnorm).to_dict("records")
    rows = [list(COLUMNS)]
    for known, layer in zip(table, backbone.layers, strict=True):
        known |= {"block": starts.get(layer.name, ""), "output": _size(layer.shape)}
        known["parameters"] = f"{known['parameters']:,}"
        rows.append([known[column] for column in COLUMNS])
    lines = format_table(rows, right=[COLUMNS.index("index"), COLUMNS.index("parameters")])
    if frozen < len(backbone.layers):
        lines.insert(frozen + 1, "── thawed from here on ".ljust(max(map(len, lines)), "─"))
    return lines


def totals(backbone: Architecture, frozen: int, train_batchnorm: bool) -> Iterator[str]:
    """Go through one line for each state that layers are in: how many layers, how many parameters."""
    table = layer_table(backbone, frozen, train_batchnorm)
    for state in ("frozen", "thawed", "inference"):
        there = table[table["state"] == state]
        if len(there) or state != "inference":
            why = " (BatchNormalization; finetune.thawed.batchnorm: frozen)" if state == "inference" else ""
            yield f"{state:<10}{len(there):>5} layers{there['parameters'].sum():>15,} parameters{why}"


def disk(
    backbone: Architecture, depths: Sequence[Depth], pooling: str, precision: str, images: Images
) -> Iterator[str]:
    """Go through lines that say what is kept of each image for ``depths``, and what it takes on disk.

    ``extract`` keeps it of training and validation images, ``extract_test`` of test images.
    """
    side = backbone.pixels
    pixels = int(np.prod(side))
    layers = list(dict.fromkeys(depth.layer for depth in depths if depth.frozen < len(backbone.layers)))
    names = [*(PIXELS if layer is None else layer for layer in layers), FEATURES]
    tested = sum(bytes_needed(*kept, 1) for kept in shapes(names, backbone, pooling, "float32").values())
    if not images.views:
        yield f"kept: the pixels, {_size(side)} uint8, for the views are drawn afresh in each epoch"
        yield _cost("", pixels, images, 1)
        yield from _with_test(pixels, tested, images, 1)
        return
    if not layers:
        yield "kept: nothing but the features, for the whole backbone is frozen"
    total = 0
    for layer in layers:
        if layer is None:
            size = pixels
            yield f"kept: the pixels, {_size(side)} uint8, for no single tensor separates frozen from thawed layers"
        else:
            shape = backbone.shape(layer)
            size = int(np.prod(shape)) * np.dtype(precision).itemsize
            half = "; extract.precision: float16 halves it" if precision == "float32" else ""
            yield f"kept: what {layer} puts out, {_size(shape)} {precision}{half}"
        yield _cost("", size, images, images.views)
        if size > 4 * pixels:
            yield f"      {size / pixels:.0f} times the size of the pixels ({pixels:,} bytes an image)"
        total += size
    features = backbone.features(pooling)
    yield _cost(f"features for the head, {features:,} float32: ", 4 * features, images, images.views)
    if len(layers) > 1:
        yield _cost("in all: ", total + 4 * features, images, images.views)
    yield from _with_test(total + 4 * features, tested, images, images.views)


def _cost(what: str, size: int, images: Images, views: int) -> str:
    line = f"      {what}{size:,} bytes an image"
    if images.train is None or images.val is None:
        return f"{line}{f' and view, {views} views' if views > 1 else ''} ({images.origin})"
    count = images.train * views + images.val
    times = f" x {views} views" if views > 1 else ""
    counted = f"({images.train:,} training{times} + {images.val:,} validation images {images.origin})"
    return f"{line} x {counted} = {format_size(size * count)}"


def _with_test(size: int, tested: int, images: Images, views: int) -> Iterator[str]:
    """Go through what ``tested`` bytes of each test image take, and that with ``size`` bytes of each other view."""
    line = f"      test images, all in float32 but pixels: {tested:,} bytes an image"
    if images.train is None or images.val is None or images.test is None:
        yield f"{line} (how many there are is known after `dvc repro split`)"
        return
    both = size * (images.train * views + images.val) + tested * images.test
    yield f"{line} x {images.test:,} = {format_size(tested * images.test)}"
    yield f"on disk: {format_size(both)}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
