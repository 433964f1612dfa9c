"""RandAugment: Cubuk, Zoph, Shlens and Le, RandAugment: Practical automated data augmentation (2020).

The paper's 14 operations, with AutoAugment's ranges of magnitudes (Cubuk et al. 2019, table 6). A higher magnitude is
always stronger: at 0 nothing happens, whereas the original implementation inverts most values at 0 (solarize) or
removes all bits (posterize).
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from stages.images.resample import warp

HIGHEST = 30  # magnitude
_SHEAR, _SHIFT, _TURN, _ENHANCE, _BITS = 0.3, 150 / 331, 30.0, 0.9, 4

Fill = int | str
Operation = Callable[[Image.Image, float, Fill], Image.Image]


def rand_augment(
    image: Image.Image, operations: int, magnitude: float, fill: Fill, draw: np.random.Generator
) -> Image.Image:
    """Apply random operations from OPERATIONS, drawn with replacement.

    Args:
        image: in mode L or RGB; the operation ``color`` does not change mode L.
        operations: their number; 0 returns the image itself.
        magnitude: of each operation, 0 to HIGHEST; the direction, if there are two, is random.
        fill: what appears at the edges; see ``warp``.
        draw: the random generator.
    """
    for _ in range(operations):
        name = list(OPERATIONS)[draw.integers(len(OPERATIONS))]
        strength = magnitude / HIGHEST * (1 if draw.random() < 0.5 else -1)
        image = OPERATIONS[name](image, strength, fill)
    return image


def _transform(
    image: Image.Image, a: float, b: float, c: float, d: float, e: float, f: float, fill: Fill
) -> Image.Image:
    """Apply an affine map, from the result to the image, around the middle of the image."""
    x, y = image.width / 2, image.height / 2
    return warp(image, (a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y), fill)


def _rotate(image: Image.Image, strength: float, fill: Fill) -> Image.Image:
    cos, sin = np.cos(np.deg2rad(_TURN * strength)), np.sin(np.deg2rad(_TURN * strength))
    return _transform(image, cos, sin, 0, -sin, cos, 0, fill)


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, strength, fill: kind(image).enhance(1 + _ENHANCE * strength)


def _color(image: Image.Image, strength: float, fill: Fill) -> Image.Image:
    return image if image.mode == "L" else ImageEnhance.Color(image).enhance(1 + _ENHANCE * strength)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, strength, fill: image,
    "auto_contrast": lambda image, strength, fill: ImageOps.autocontrast(image),
    "equalize": lambda image, strength, fill: ImageOps.equalize(image),
    "rotate": _rotate,
    "solarize": lambda image, strength, fill: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    "color": _color,
    "posterize": lambda image, strength, fill: ImageOps.posterize(image, 8 - round(_BITS * abs(strength))),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": lambda image, strength, fill: _transform(image, 1, _SHEAR * strength, 0, 0, 1, 0, fill),
    "shear_y": lambda image, strength, fill: _transform(image, 1, 0, 0, _SHEAR * strength, 1, 0, fill),
    "shift_x": lambda image, strength, fill: _transform(image, 1, 0, _SHIFT * strength * image.width, 0, 1, 0, fill),
    "shift_y": lambda image, strength, fill: _transform(image, 1, 0, 0, 0, 1, _SHIFT * strength * image.height, fill),
}
