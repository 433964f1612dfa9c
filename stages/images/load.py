"""The one loader: from image bytes to the pixels a network sees.

Training, evaluation, prediction and export all call ``load``, so that none of them can see other pixels than another.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from PIL import Image

from stages.base.prefetch import map_in_threads
from stages.images.bit_depth import convert_to_8_bits
from stages.images.contract import Contract
from stages.images.decode import read_image

T = TypeVar("T")
_AHEAD = 64  # images in memory at a time
_REDUCED = 2  # a large JPEG is decoded at a scale that leaves at least this many times the size


def load(data: bytes, contract: Contract) -> np.ndarray:
    """Turn the bytes of an image file into the pixels a network takes.

    Resizing is Pillow's bilinear filter, which averages over all pixels when it makes an image smaller. An image that
    has the right size already keeps its pixels. A JPEG of a photograph four times as large or more is reduced to 1/2,
    1/4 or 1/8 by its decoder: at 12 megapixels ten times as fast, and hardly another picture.

    Returns:
        uint8 pixels, 0-255, of shape (size, size, channels).

    Raises:
        BadImage: the file cannot be decoded, or its form is ink and no handwriting can be told from the paper.
    """
    return make_pixels(decode_for(data, contract), contract)


def decode_for(data: bytes, contract: Contract) -> Image.Image:
    """Decode an image file as far as a contract needs it; the first half of ``load``."""
    return read_image(data, 0 if contract.form == "ink" else _REDUCED * contract.size)


def make_pixels(image: Image.Image, contract: Contract) -> np.ndarray:
    """Turn an image that ``decode_for`` decoded into the pixels a network takes; the second half of ``load``."""
    image = convert_to_8_bits(image, contract.range)
    dark_on_light = contract.polarity == "dark_on_light"
    if contract.form == "ink":
        from stages.images.ink import normalize_ink  # here: it imports SciPy, which photographs do not need

        gray = normalize_ink(np.asarray(image.convert("L")), contract.size, dark_on_light)
        return np.repeat(gray[..., None], contract.channels, axis=2)
    pixels = _square(image.convert("L" if contract.channels == 1 else "RGB"), contract, dark_on_light)
    return pixels.reshape(contract.size, contract.size, contract.channels)


def load_all(images: Iterable[bytes], contract: Contract) -> Iterator[np.ndarray]:
    """Go through ``images`` as ``load`` gives them, in their order, several being decoded at a time."""
    return map_images(lambda image: load(image, contract), images)


def map_images(function: Callable[[bytes], T], images: Iterable[bytes]) -> Iterator[T]:
    """Go through what ``function`` gives for ``images``, in their order, several being decoded at a time."""
    # More threads would only take turns with the network's.
    return map_in_threads(function, images, os.cpu_count(), _AHEAD)


def _square(image: Image.Image, contract: Contract, invert: bool) -> np.ndarray:
    """Fit an image into the square of the contract; bars are black in what comes out, inverted or not."""
    size, longest, shortest = contract.size, max(image.size), min(image.size)
    left, top = (image.width - shortest) / 2, (image.height - shortest) / 2
    if contract.fit == "crop":
        image = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + shortest, top + shortest))
    elif contract.fit == "pad":
        width, height = (max(1, round(side * size / longest)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    if invert:
        pixels = 255 - pixels
    rows, columns = size - pixels.shape[0], size - pixels.shape[1]
    before = [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)]
    return np.pad(pixels, before[: pixels.ndim])
