"""Draw a map of what speaks for a class onto the image."""

import numpy as np
from PIL import Image

from stages.images.contract import Contract
from stages.images.decode import decode
from stages.images.load import load
from stages.images.thumbnail import fit_into

# From vermilion to yellow: lighter with the evidence, so it reads alike with any kind of color vision, and in gray.
_WEAK, _STRONG = np.array((190.0, 60, 0)), np.array((255.0, 235, 90))
_GRAY = 0.75  # of the picture's contrast that is left under the map
_COVER = 0.75  # opacity of the strongest evidence


def frame(data: bytes, contract: Contract, side: int) -> Image.Image:
    """Return the part of an image that the network sees, with sides of at most ``side`` pixels.

    Args:
        data: the bytes of the image file.
        contract: the network's input.
        side: in pixels.

    Raises:
        BadImage: the file cannot be decoded.
    """
    if contract.form == "ink":  # cropped and centered: what the network sees has other places than the file
        pixels = load(data, contract)
        return fit_into(Image.fromarray(pixels[..., 0] if contract.channels == 1 else pixels), side)
    image = decode(data, values=contract.range)
    if contract.fit == "crop":
        image = _center(image, min(image.size))
    image = fit_into(image, side)
    return _center(image, max(image.size)) if contract.fit == "pad" else image


def _center(image: Image.Image, side: int) -> Image.Image:
    """Return the square in the middle of an image, black outside the image."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def draw_evidence(picture: Image.Image, maps: np.ndarray) -> list[Image.Image]:
    """Return the picture in gray under each map: the more a place speaks for the class, the brighter its color.

    Args:
        picture: the part of the image that the network sees.
        maps: (k, h, w), from ``stages.explain.explainer``; one scale of color for all of them.
    """
    highest = maps.max()
    gray = np.asarray(picture.convert("L"), np.float64)[..., None]
    gray = 128 + _GRAY * (gray - 128)
    drawn = []
    for one in maps:
        share = np.maximum(one, 0) / highest if highest > 0 else np.zeros_like(one)
        scaled = Image.fromarray(share.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
        strength = np.clip(np.asarray(scaled, np.float64), 0, 1)[..., None]
        color = _WEAK + (_STRONG - _WEAK) * strength
        mixed = gray + (color - gray) * _COVER * strength
        drawn.append(Image.fromarray(mixed.round().astype(np.uint8)))
    return drawn
