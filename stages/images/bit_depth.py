"""Gray values of more than 8 bits: which an image holds, and what of them becomes black and white.

Pillow has such values of one channel only; it reads 16-bit colors as 8-bit ones.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stages.images.contract import Range

FULL: Range = (0, 65535)  # of whole numbers, whatever the file's own width
_SHARE: Range = (0, 1)  # of floating point


@dataclass(frozen=True)
class Extent:
    """The least and the largest value of an image, and whether its values are floating point."""

    least: float
    largest: float
    floating: bool

    def within(self, values: Range | None) -> bool:
        """Whether no value lies outside a range; None: the full one."""
        low, high = values or (_SHARE if self.floating else FULL)
        return low <= self.least and self.largest <= high


def is_range(values: object) -> bool:
    """Whether something is a range: two finite numbers, the lower one first."""
    if not isinstance(values, list | tuple) or len(values) != 2:
        return False
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and bool(-math.inf < values[0] < values[1] < math.inf)


def is_deep(image: Image.Image) -> bool:
    """Whether an image's values have more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def measure_extent(image: Image.Image) -> Extent:
    """Return the extent of an image for which ``is_deep``; transparent pixels do not count."""
    values = _values(image)
    values = values[~np.isnan(values)]
    least, largest = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return Extent(least, largest, image.mode == "F")


def convert_to_8_bits(image: Image.Image, values: Range | None) -> Image.Image:
    """Return an image in 8 bits: itself where it has no more, else in mode "L", transparent pixels white.

    Args:
        image: the image.
        values: those that become black and white; what lies outside becomes the one or the other. None: the full
            range, 0 to 65535 of whole numbers and 0 to 1 of floating point.
    """
    if not is_deep(image):
        return image
    low, high = values or (_SHARE if image.mode == "F" else FULL)
    shares = (np.clip(_values(image), low, high) - low) * (255.0 / (high - low))
    return Image.fromarray(np.rint(np.where(np.isnan(shares), 255.0, shares)).astype(np.uint8))


def stretch_to_8_bits(image: Image.Image) -> Image.Image:
    """Return an image in 8 bits, by the values that it alone holds: to compare it with others, not to learn from it."""
    if not is_deep(image):
        return image
    own = measure_extent(image)
    return convert_to_8_bits(image, (own.least, own.largest if own.largest > own.least else own.least + 1))


def encode_values(image: Image.Image) -> bytes | None:
    """Return the values of an image for which ``is_deep`` as bytes, the same whatever the file's kind of number.

    None, where 8 bits hold them, because each is one of 256 steps from 0 to 65535: the picture is that of an 8-bit file
    which a program has widened.
    """
    values = _values(image)
    whole = image.mode != "F" and bool(((values % 257 == 0) | np.isnan(values)).all())
    if whole and measure_extent(image).within(None):
        return None
    return (values + 0.0).tobytes()  # -0.0 is 0.0


def find_range(extents: Iterable[Extent]) -> Range | None:
    """Return a range that holds the values of several images; None, where there are no images.

    White is one below the power of two above the largest value: 4095 for 12 bits, and 1 where no value is larger.
    Black is 0, or minus the power of two at or below the least value: -1024 for X-ray densities in Hounsfield units.
    """
    found = list(extents)
    if not found:
        return None
    least, largest = min(each.least for each in found), max(each.largest for each in found)
    high = 2 ** int(np.ceil(max(largest, 1))).bit_length() - 1
    low = -(2 ** (int(np.ceil(-least)) - 1).bit_length()) if least < 0 else 0
    return low, high


def format_range(values: Range | None) -> str:
    """Return a range for people to read; None: the full one."""
    if values is None:
        return f"{FULL[0]} to {FULL[1]} (floating point: {_SHARE[0]} to {_SHARE[1]})"
    low, high = values
    bits = (
        f" ({int(high).bit_length()} bits)" if low == 0 and high > 1 and high in {2**n - 1 for n in range(33)} else ""
    )
    return f"{low} to {high}{bits}"


def _values(image: Image.Image) -> np.ndarray:
    """The values as float64, not a number where transparent."""
    values = np.asarray(image).astype(np.float64)
    transparent = image.info.get("transparency")
    return values if transparent is None else np.where(values == transparent, np.nan, values)
