"""How much disk space the activations at a freeze depth take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.base.terminal import format_size
from stages.compute.architecture import FEATURES, PIXELS, Architecture
from stages.transfer.activations import bytes_needed, tensor_shapes
from stages.transfer.freeze import Depth


@dataclass(frozen=True)
class Images:
    """How many images there are.

    Attributes:
        train: images in the training split; None if unknown until the split is made.
        val: likewise in the validation split.
        test: likewise in the test split.
        views: stored per training image; 0 if each epoch draws new ones from stored pixels.
        origin: of the counts, or why they are unknown, in words.
    """

    train: int | None
    val: int | None
    test: int | None
    views: int
    origin: str


def describe_disk_usage(
    architecture: Architecture, depths: Sequence[Depth], pooling: str, precision: str, images: Images
) -> Iterator[str]:
    """Yield lines on the images, on what is stored per image, and how much disk space it needs.

    Args:
        architecture: of the backbone.
        depths: whose activations are stored.
        pooling: how feature maps become features.
        precision: dtype of the activations of training and validation images.
        images: how many there are.
    """
    side = architecture.pixels
    pixels = bytes_needed(side, "uint8", 1)
    activations = list(dict.fromkeys(depth.tensor for depth in depths if depth.frozen < len(architecture.layers)))
    names = [*activations, FEATURES]
    tested = sum(bytes_needed(*shape, 1) for shape in tensor_shapes(names, architecture, pooling, "float32").values())
    yield _describe_images(images)
    if not images.views:
        yield f"stored: the pixels, {_size(side)} uint8, since each epoch draws new views"
        yield _cost("", pixels, images, 1)
        yield from _with_test(pixels, tested, images, 1)
        return
    if not activations:
        yield "stored: only the features, since the whole backbone is frozen"
    total = 0
    for name, (shape, dtype) in tensor_shapes(activations, architecture, pooling, precision).items():
        if name == PIXELS:
            yield f"stored: the pixels, {_size(side)} uint8, since no single tensor separates frozen from thawed layers"
        else:
            half = "; extract.precision: float16 halves it" if dtype == "float32" else ""
            yield f"stored: the output of {name}, {_size(shape)} {dtype}{half}"
        size = bytes_needed(shape, dtype, 1)
        yield _cost("", size, images, images.views)
        if size > 4 * pixels:
            yield f"      {size / pixels:.0f} times the size of the pixels ({pixels:,} bytes per image)"
        total += size
    features = architecture.features(pooling)
    yield _cost(f"features for the head, {features:,} float32: ", 4 * features, images, images.views)
    if len(activations) > 1:
        yield _cost("total: ", total + 4 * features, images, images.views)
    yield from _with_test(total + 4 * features, tested, images, images.views)


def _describe_images(images: Images) -> str:
    """Return a line on how many images there are."""
    if images.train is None:
        return f"images: {images.origin}"
    views = f", in {images.views} views each" if images.views > 1 else ""
    counts = [f"{images.train:,} for training{views}"]
    counts += [f"{images.val:,} for validation"] if images.val else []
    counts += ["test images unknown until `dvc repro split`" if images.test is None else f"{images.test:,} for testing"]
    return f"images: {'; '.join(counts)} ({images.origin})"


def _cost(what: str, size: int, images: Images, views: int) -> str:
    line = f"      {what}{size:,} bytes per {'view' if views > 1 else 'image'}"
    if images.train is None or images.val is None:
        return line
    return f"{line}, {format_size(size * (images.train * views + images.val))} in all"


def _with_test(size: int, tested: int, images: Images, views: int) -> Iterator[str]:
    """Yield lines on the test images, ``tested`` bytes each, and on all images, ``size`` bytes for each view."""
    line = f"      test images, in float32 except pixels: {tested:,} bytes per image"
    if images.train is None or images.val is None or images.test is None:
        yield line
        return
    both = size * (images.train * views + images.val) + tested * images.test
    yield f"{line}, {format_size(tested * images.test)} in all"
    yield f"on disk: {format_size(both)}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
