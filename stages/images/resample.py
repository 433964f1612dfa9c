"""Resample an image: along an affine map, as views turn, shift, slant and zoom it, or smaller by averaging."""

import numpy as np
from PIL import Image

_PADDING = {"nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}

Affine = tuple[float, float, float, float, float, float]


def warp(image: Image.Image, way: Affine, fill: int | str) -> Image.Image:
    """Return ``image`` (mode L or RGB) resampled once, between its pixels bilinearly.

    Args:
        way: (a, b, c, d, e, f), the way back: the point (x, y) of the result is (ax + by + c, dx + ey + f) of the
            image. Pixel k covers k to k + 1, so that the middle is half the side.
        fill: what comes in at the edges: a gray value 0-255, ``nearest`` (the edge repeated), ``reflect`` (mirrored)
            or ``wrap`` (the other side).
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
    """Average an image down to ``longest`` pixels; leave a smaller one as it is."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)
