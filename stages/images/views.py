"""Augmented views: the same image, turned, shifted, zoomed or flipped a little."""

import numpy as np
from PIL import Image

from stages.schema.extract import Augment

_PADDING = {"nearest": "edge", "reflect": "symmetric"}


def view(pixels: np.ndarray, number: int, limits: Augment, seed: int) -> np.ndarray:
    """Return view ``number`` of an image; view 0 is the image itself.

    The draw depends on the seed, the view's number and the pixels alone, not on the other images or their order.

    Args:
        pixels: uint8, (side, side, channels).
        number: 0 or more.
        limits: how far the view may differ; each value is drawn evenly from its range.
        seed: another one draws other views.

    Returns:
        uint8, (side, side, channels).
    """
    if number == 0:
        return pixels
    draw = np.random.default_rng([seed, number, int(np.sum(pixels, dtype=np.int64)), _fingerprint(pixels)])
    angle = np.deg2rad(draw.uniform(-limits.rotation, limits.rotation))
    shift_x, shift_y = draw.uniform(-limits.shift, limits.shift, 2) * pixels.shape[0]
    scale = 1 + draw.uniform(-limits.zoom, limits.zoom)
    flip_x, flip_y = draw.random(2) < 0.5
    if flip_x and limits.flip in ("horizontal", "both"):
        pixels = pixels[:, ::-1]
    if flip_y and limits.flip in ("vertical", "both"):
        pixels = pixels[::-1]
    # Zoomed out, turned and shifted as far as allowed, a corner of the view lies this far outside the image.
    reach = (0.5 + limits.shift) * 2**0.5 / (1 - limits.zoom) - 0.5
    margin = 0 if limits.fill == "black" else int(np.ceil(reach * pixels.shape[0])) + 1
    if margin:
        around = ((margin, margin), (margin, margin), (0, 0))
        pixels = np.pad(pixels, around, mode=_PADDING[limits.fill])  # type: ignore[call-overload]
    return _warp(pixels, margin, angle, shift_x, shift_y, scale)


def _fingerprint(pixels: np.ndarray) -> int:
    return int(np.dot(pixels.ravel().astype(np.int64), np.arange(1, pixels.size + 1)))


def _warp(pixels: np.ndarray, margin: int, angle: float, shift_x: float, shift_y: float, scale: float) -> np.ndarray:
    """Turn and zoom around the middle, then shift; in one resampling, so that nothing is blurred twice.

    ``pixels`` have ``margin`` more on every side than the view that is returned.
    """
    side = pixels.shape[0] - 2 * margin
    cos, sin, middle = np.cos(angle) / scale, np.sin(angle) / scale, side / 2
    # Pillow wants the way back: where in the image each pixel of the view comes from.
    x = middle - cos * (middle + shift_x) - sin * (middle + shift_y) + margin
    y = middle + sin * (middle + shift_x) - cos * (middle + shift_y) + margin
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    warped = image.transform(
        (side, side), Image.Transform.AFFINE, (cos, sin, x, -sin, cos, y), Image.Resampling.BILINEAR
    )
    return np.asarray(warped).reshape(side, side, -1)
