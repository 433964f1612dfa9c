"""Convert gray values of more than 8 bits: find their range, and map it to black and white.

Pillow supports them in one channel only; it reads 16-bit colors as 8-bit ones.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stages.images.contract import Range

FULL: Range = (0, 65535)  # of integers, whatever the file's bit depth
_SHARE: Range = (0, 1)  # of floating point


@dataclass(frozen=True)
class Extent:
    """The least and largest value of an image, and whether its values are floating point."""

    least: float
    largest: float
    floating: bool

    def within(self, values: Range | None) -> bool:
        """Return whether all values are in a range; None: the full range."""
        low, high = values or (_SHARE if self.floating else FULL)
        return low <= self.least and self.largest <= high


def is_range(values: object) -> bool:
    """Return whether ``values`` is a range: two finite numbers, the lower one first."""
    if not isinstance(values, list | tuple) or len(values) != 2:
        return False
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and bool(-math.inf < values[0] < values[1] < math.inf)


def is_deep(image: Image.Image) -> bool:
    """Return whether an image's values have more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def measure_extent(image: Image.Image) -> Extent:
    """Return the extent of an image of more than 8 bits, transparent pixels aside."""
    values = _values(image)
    values = values[~np.isnan(values)]
    least, largest = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return Extent(least, largest, image.mode == "F")


def convert_to_8_bits(image: Image.Image, values: Range | None) -> Image.Image:
    """Return an 8-bit image: the image itself, or a conversion to mode "L" with transparent pixels in white.

    Args:
        image: of any depth.
        values: the values that become black and white; those outside are clipped. None: the full range, 0 to 65535 of
            integers and 0 to 1 of floating point.
    """
    if not is_deep(image):
        return image
    low, high = values or (_SHARE if image.mode == "F" else FULL)
    shares = (np.clip(_values(image), low, high) - low) * (255.0 / (high - low))
    return Image.fromarray(np.rint(np.where(np.isnan(shares), 255.0, shares)).astype(np.uint8))


def stretch_to_8_bits(image: Image.Image) -> Image.Image:
    """Return an 8-bit image whose own least and largest value are black and white: for comparison, not for training."""
    if not is_deep(image):
        return image
    own = measure_extent(image)
    return convert_to_8_bits(image, (own.least, own.largest if own.largest > own.least else own.least + 1))


def encode_values(image: Image.Image) -> bytes | None:
    """Return the values of an image of more than 8 bits as bytes, the same for all number types.

    None if 8 bits can represent them: each is one of 256 steps from 0 to 65535, because a program has widened an 8-bit
    image.
    """
    values = _values(image)
    whole = image.mode != "F" and bool(((values % 257 == 0) | np.isnan(values)).all())
    if whole and measure_extent(image).within(None):
        return None
    return (values + 0.0).tobytes()  # -0.0 is 0.0


def find_range(extents: Iterable[Extent]) -> Range | None:
    """Return a range that includes the values of all images; None if there are no images.

    White is one less than the power of two above the largest value: 4095 for 12 bits, and 1 if no value is larger.
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
    """Return a range as text; None: the full range."""
    if values is None:
        return f"{FULL[0]} to {FULL[1]} (floating point: {_SHARE[0]} to {_SHARE[1]})"
    low, high = values
    bits = (
        f" ({int(high).bit_length()} bits)" if low == 0 and high > 1 and high in {2**n - 1 for n in range(33)} else ""
    )
    return f"{low} to {high}{bits}"


def _values(image: Image.Image) -> np.ndarray:
    """Return the values as float64, NaN where transparent."""
    values = np.asarray(image).astype(np.float64)
    transparent = image.info.get("transparency")
    return values if transparent is None else np.where(values == transparent, np.nan, values)
