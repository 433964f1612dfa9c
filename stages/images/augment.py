"""Augment an image: rotate, shift, shear, zoom, stretch, crop, flip, recolor, cut out a square, or RandAugment."""

from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import Field

from stages.base.params import Section, allowed
from stages.images.rand_augment import rand_augment
from stages.images.resample import Affine, warp

Share = Annotated[float, Field(ge=0, le=1)]
Half = Annotated[float, Field(ge=0, le=0.5)]
Alpha = Annotated[float, Field(ge=0, le=100)]


def _is_fill(value: Any) -> bool:
    return value in ("nearest", "reflect", "wrap") or (isinstance(value, int) and 0 <= value <= 255)


class RandAugment(Section):
    """RandAugment: the number of random operations per view (0: none), and their magnitude."""

    operations: Annotated[int, Field(ge=0, le=14)]
    magnitude: Annotated[float, Field(ge=0, le=30)]


class Augment(Section):
    """The limits of random augmentation, as params.yaml explains them.

    Angles are in degrees, lengths in shares of the side. An option is off at 0 (flip: at none).
    """

    RENAMED: ClassVar = {"colour": "color"}

    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Half
    shear: Annotated[float, Field(ge=0, le=60)]
    zoom: Half
    stretch: Half
    crop: Half
    flip: Literal["none", "horizontal", "vertical", "both"]
    fill: Annotated[int | str, allowed(_is_fill, "a gray value from 0 to 255, 'nearest', 'reflect' or 'wrap'")]
    brightness: Share
    contrast: Share
    color: Share
    hue: Half
    cutout: Share
    mixup: Alpha
    cutmix: Alpha
    rand_augment: RandAugment

    @property
    def mixes(self) -> bool:
        """Whether views are mixtures of two images, with a share of each class as the target."""
        return self.mixup > 0 or self.cutmix > 0


def make_view(pixels: np.ndarray, number: int, limits: Augment, seed: int) -> np.ndarray:
    """Return view ``number`` of an image; view 0 is the image itself.

    All geometric changes are one resampling. Random values depend only on the seed, the view's number and the pixels,
    not on other images or their order; and enabling one option does not change the values of the others.

    Args:
        pixels: uint8, (side, side, channels).
        number: 0 or more.
        limits: each value is drawn uniformly from its range.
        seed: of the random values.

    Returns:
        uint8, (side, side, channels).
    """
    if number == 0:
        return pixels
    draw = make_generator(pixels, number, seed)
    side = pixels.shape[0]
    angle = np.deg2rad(draw.uniform(-limits.rotation, limits.rotation))
    shift = draw.uniform(-limits.shift, limits.shift, 2) * side
    scale = 1 + draw.uniform(-limits.zoom, limits.zoom)
    flip_x, flip_y = draw.random(2) < 0.5
    slant = np.tan(np.deg2rad(draw.uniform(-limits.shear, limits.shear)))
    colors, cut = draw.uniform(-1, 1, 3), draw.random(2)
    (others,) = draw.spawn(1)  # for options added later, so that views without them keep their random values
    sides = scale * (1 + others.uniform(-limits.stretch, limits.stretch, 2))
    border = round(limits.crop * side)
    shift += np.floor(others.random(2) * (2 * border + 1)) - border  # whole pixels, so that a crop blurs nothing
    hue = others.uniform(-limits.hue, limits.hue)
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    if flip_x and limits.flip in ("horizontal", "both"):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if flip_y and limits.flip in ("vertical", "both"):
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if limits.rotation or limits.shift or limits.zoom or limits.shear or limits.stretch or border:
        image = warp(image, _map_to_image(side, angle, slant, sides, shift), limits.fill)
    image = rand_augment(image, limits.rand_augment.operations, limits.rand_augment.magnitude, limits.fill, draw)
    brightness, contrast, color = 1 + colors * (limits.brightness, limits.contrast, limits.color)
    image = recolor(image, brightness, contrast, color, hue)
    if limits.cutout:
        _cut_out(image, limits.cutout * side, cut * side, limits.fill if isinstance(limits.fill, int) else 128)
    return np.asarray(image).reshape(pixels.shape)


def make_generator(pixels: np.ndarray, number: int, seed: int, *purpose: int) -> np.random.Generator:
    """Return the random generator for a view of an image.

    Args:
        pixels: of the image, uint8.
        number: of the view.
        seed: of all random values.
        purpose: numbers that separate independent uses for the same view.
    """
    flat = pixels.ravel().astype(np.int64)
    return np.random.default_rng([seed, number, int(flat.sum()), int(np.dot(flat, _places(flat.size))), *purpose])


@lru_cache(maxsize=1)
def _places(count: int) -> np.ndarray:
    return np.arange(1, count + 1)


def _map_to_image(side: int, angle: float, slant: float, scale: np.ndarray, shift: np.ndarray) -> Affine:
    """Return the map from a view's coordinates to the image's: shear, rotate and zoom around the center, then shift.

    Args:
        side: in pixels.
        angle: of the rotation, in radians.
        slant: of upright lines.
        scale: (x, y).
        shift: (x, y), in pixels.
    """
    cos, sin, middle = np.cos(angle) / scale, np.sin(angle) / scale, side / 2
    a, d = cos[0] + slant * sin[0], -sin[0]
    b, e = sin[1] - slant * cos[1], cos[1]
    x, y = middle + shift
    c, f = middle - a * x - b * y, middle - d * x - e * y
    return a, b, c, d, e, f


def _cut_out(image: Image.Image, length: float, middle: np.ndarray, gray: int) -> None:
    """Paste a gray square with sides of ``length`` pixels around ``middle`` (x, y); it may extend beyond the edges.

    Cutout: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).
    """
    side = round(length)
    left, top = (int(np.floor(place - side / 2 + 0.5)) for place in middle)
    image.paste((gray,) * len(image.getbands()), (left, top, left + side, top + side))


def recolor(image: Image.Image, brightness: float, contrast: float, color: float, hue: float) -> Image.Image:
    """Return ``image`` with other brightness, contrast, saturation and hue; factors of 1 and a hue of 0 change nothing.

    Args:
        image: in mode L or RGB.
        brightness: factor of the pixel values.
        contrast: factor of their differences from the image's mean gray.
        color: factor of their differences from their own gray; mode L has none.
        hue: rotation, as a share of the color circle; no effect in mode L.
    """
    if brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(brightness)
    if contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(contrast)
    if color != 1 and image.mode != "L":
        image = ImageEnhance.Color(image).enhance(color)
    if (turn := round(256 * hue)) and image.mode != "L":
        h, s, v = image.convert("HSV").split()
        h = h.point([(value + turn) % 256 for value in range(256)])
        image = Image.merge("HSV", (h, s, v)).convert("RGB")
    return image
