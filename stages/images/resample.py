"""Resample an image: by an affine map, or to a smaller size."""

import numpy as np
from PIL import Image

_PADDING = {"nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}

Affine = tuple[float, float, float, float, float, float]


def warp(image: Image.Image, way: Affine, fill: int | str) -> Image.Image:
    """Apply an affine map to an image, with bilinear interpolation.

    Args:
        image: in mode L or RGB.
        way: (a, b, c, d, e, f), from the result to the image: the point (x, y) of the result is (ax + by + c, dx + ey +
            f) of the image. Pixel k covers k to k + 1, so the middle is half the side.
        fill: of the edges, as ``extract.augment.fill`` in params.yaml.
    """
    if isinstance(fill, int):
        gray = (fill,) * len(image.getbands())
        return image.transform(image.size, Image.Transform.AFFINE, way, Image.Resampling.BILINEAR, fillcolor=gray)
    a, b, c, d, e, f = way
    size, (width, height) = np.array(image.size), image.size
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)])
    reached = corners @ np.array([(a, d), (b, e)]) + (c, f)
    margin = max(0, int(np.ceil(max(-reached.min(), (reached - size).max())))) + 1
    pixels = np.asarray(image)
    around = ((margin, margin), (margin, margin), (0, 0))[: pixels.ndim]
    padded = Image.fromarray(np.pad(pixels, around, mode=_PADDING[fill]))  # type: ignore[call-overload]
    way = (a, b, c + margin, d, e, f + margin)
    return padded.transform(image.size, Image.Transform.AFFINE, way, Image.Resampling.BILINEAR)


def shrink(image: Image.Image, longest: int) -> Image.Image:
    """Shrink an image to at most ``longest`` pixels a side by averaging; return a smaller one unchanged."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)
