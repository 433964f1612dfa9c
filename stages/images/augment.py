"""Augmented views: the same image, turned, shifted, slanted, zoomed, flipped, recolored, or with a piece cut out."""

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
    """RandAugment: so many operations drawn from a list, all of one strength.

    Attributes:
        operations: how many for each view, one after the other; 0: none.
        magnitude: 0 (hardly a difference) to 30.
    """

    operations: Annotated[int, Field(ge=0, le=14)]
    magnitude: Annotated[float, Field(ge=0, le=30)]


class Augment(Section):
    """How far an augmented view may differ from its image. With 0 (and flip none) nothing happens.

    Attributes:
        rotation: degrees, either way.
        shift: share of the side, in both directions.
        shear: degrees by which upright lines may lean, either way.
        zoom: share by which it may be larger or smaller.
        flip: each with probability 1/2.
        fill: what comes in at the edges: a gray value, ``nearest`` (the edge repeated), ``reflect`` (mirrored) or
            ``wrap`` (the other side).
        brightness: share by which it may be lighter or darker.
        contrast: share by which differences from the mean gray may be larger or smaller.
        color: share by which colors may be stronger or paler.
        cutout: side of the square that is cut out, as a share of the image's side.
        mixup: alpha of the Beta distribution of the shares in which two images are mixed.
        cutmix: alpha of the Beta distribution of the share of the area that stays when a piece of another is put in.
        rand_augment: operations drawn from a list.
    """

    RENAMED: ClassVar = {"colour": "color"}

    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Half
    shear: Annotated[float, Field(ge=0, le=60)]
    zoom: Half
    flip: Literal["none", "horizontal", "vertical", "both"]
    fill: Annotated[int | str, allowed(_is_fill, "a gray value from 0 to 255, 'nearest', 'reflect' or 'wrap'")]
    brightness: Share
    contrast: Share
    color: Share
    cutout: Share
    mixup: Alpha
    cutmix: Alpha
    rand_augment: RandAugment

    @property
    def mixes(self) -> bool:
        """Whether a view is mixed of two images, so that its target is shares of classes."""
        return self.mixup > 0 or self.cutmix > 0


def make_view(pixels: np.ndarray, number: int, limits: Augment, seed: int) -> np.ndarray:
    """Return view ``number`` of an image; view 0 is the image itself.

    Geometry is one resampling. What is drawn depends on the seed, the view's number and the pixels alone, not on the
    other images or their order; and turning one setting on changes nothing of what the others draw.

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
    draw = make_generator(pixels, number, seed)
    side = pixels.shape[0]
    angle = np.deg2rad(draw.uniform(-limits.rotation, limits.rotation))
    shift_x, shift_y = draw.uniform(-limits.shift, limits.shift, 2) * side
    scale = 1 + draw.uniform(-limits.zoom, limits.zoom)
    flip_x, flip_y = draw.random(2) < 0.5
    slant = np.tan(np.deg2rad(draw.uniform(-limits.shear, limits.shear)))
    colors, cut = draw.uniform(-1, 1, 3), draw.random(2)
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    if flip_x and limits.flip in ("horizontal", "both"):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if flip_y and limits.flip in ("vertical", "both"):
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if limits.rotation or limits.shift or limits.zoom or limits.shear:
        image = warp(image, _way_back(side, angle, slant, scale, shift_x, shift_y), limits.fill)
    image = rand_augment(image, limits.rand_augment.operations, limits.rand_augment.magnitude, limits.fill, draw)
    brightness, contrast, color = 1 + colors * (limits.brightness, limits.contrast, limits.color)
    image = recolor(image, brightness, contrast, color)
    if limits.cutout:
        _cut_out(image, limits.cutout * side, cut * side, limits.fill if isinstance(limits.fill, int) else 128)
    return np.asarray(image).reshape(pixels.shape)


def make_generator(pixels: np.ndarray, number: int, seed: int, *purpose: int) -> np.random.Generator:
    """Return the generator of what is drawn for view ``number`` of an image, and for one ``purpose`` of several."""
    flat = pixels.ravel().astype(np.int64)
    return np.random.default_rng([seed, number, int(flat.sum()), int(np.dot(flat, _places(flat.size))), *purpose])


@lru_cache(maxsize=1)
def _places(count: int) -> np.ndarray:
    return np.arange(1, count + 1)


def _way_back(side: int, angle: float, slant: float, scale: float, shift_x: float, shift_y: float) -> Affine:
    """Slant, turn and zoom around the middle, then shift: return where in the image each point of the view lies."""
    cos, sin, middle = np.cos(angle) / scale, np.sin(angle) / scale, side / 2
    a, b = cos + slant * sin, sin - slant * cos
    c = middle - a * (middle + shift_x) - b * (middle + shift_y)
    f = middle + sin * (middle + shift_x) - cos * (middle + shift_y)
    return a, b, c, -sin, cos, f


def _cut_out(image: Image.Image, length: float, middle: np.ndarray, gray: int) -> None:
    """Put a square of so many pixels a side around ``middle`` (x, y) into ``image``; it may reach beyond the edges.

    Cutout: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout (2017).
    """
    side = round(length)
    left, top = (int(np.floor(place - side / 2 + 0.5)) for place in middle)
    image.paste((gray,) * len(image.getbands()), (left, top, left + side, top + side))


def recolor(image: Image.Image, brightness: float, contrast: float, color: float) -> Image.Image:
    """Return ``image`` (mode L or RGB) recolored; with a factor of 1 nothing is done.

    Args:
        brightness: what pixel values are multiplied by.
        contrast: what their difference from the image's mean gray is multiplied by.
        color: what their difference from their own gray is multiplied by; a gray image has none.
    """
    if brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(brightness)
    if contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(contrast)
    if color != 1 and image.mode != "L":
        image = ImageEnhance.Color(image).enhance(color)
    return image
