"""The one loader: from image bytes to the pixels that a network sees.

Training, evaluation, prediction and export all call ``load``, so all of them see the same pixels.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from PIL import Image

from stages.base.prefetch import map_in_threads
from stages.base.processor import count_cores
from stages.images.bit_depth import convert_to_8_bits
from stages.images.contract import Contract
from stages.images.decode import read_image

T = TypeVar("T")
_PENDING = 64  # images in memory at a time
_OVERSAMPLING = 2  # a large JPEG is decoded at this many times the target size, or more


def load(data: bytes, contract: Contract) -> np.ndarray:
    """Turn the bytes of an image file into the pixels of a network's input.

    Images are resized with Pillow's bilinear filter, which averages over all pixels when it shrinks an image. An image
    of the right size is not resampled. A JPEG photograph of four times the size or more is decoded at 1/2, 1/4 or 1/8:
    at 12 megapixels ten times as fast, with hardly any difference.

    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 30), "red").save(file, "PNG")
    >>> load(file.getvalue(), Contract(28, 3, "photo", "light_on_dark", "stretch")).shape
    (28, 28, 3)

    Args:
        data: the bytes of the file.
        contract: the network's input.

    Returns:
        uint8 pixels, 0-255, of shape (size, size, channels).

    Raises:
        BadImage: the file cannot be decoded, or the form is ink and no handwriting is found.
    """
    return make_pixels(decode_for(data, contract), contract)


def decode_for(data: bytes, contract: Contract) -> Image.Image:
    """Decode an image file at the size that a contract needs: the first half of ``load``.

    Args:
        data: the bytes of the file.
        contract: the network's input.
    """
    return read_image(data, 0 if contract.form == "ink" else _OVERSAMPLING * contract.size)


def make_pixels(image: Image.Image, contract: Contract) -> np.ndarray:
    """Turn an image from ``decode_for`` into the pixels of a network's input: the second half of ``load``.

    Args:
        image: of any size and mode that ``decode_for`` returns.
        contract: the network's input.
    """
    image = convert_to_8_bits(image, contract.range)
    dark_on_light = contract.polarity == "dark_on_light"
    if contract.form == "ink":
        from stages.images.ink import normalize_ink  # here: photographs do not need SciPy

        gray = normalize_ink(np.asarray(image.convert("L")), contract.size, dark_on_light)
        return np.repeat(gray[..., None], contract.channels, axis=2)
    pixels = _square(image.convert("L" if contract.channels == 1 else "RGB"), contract, dark_on_light)
    return pixels.reshape(contract.size, contract.size, contract.channels)


def load_all(images: Iterable[bytes], contract: Contract) -> Iterator[np.ndarray]:
    """Yield the pixels of ``images`` (see ``load``) in order, decoding several at a time."""
    return map_images(lambda image: load(image, contract), images)


def map_images(function: Callable[[bytes], T], images: Iterable[bytes]) -> Iterator[T]:
    """Yield ``function(image)`` for ``images`` in order, computing several at a time."""
    # More threads would compete with the network's.
    return map_in_threads(function, images, count_cores(), _PENDING)


def _square(image: Image.Image, contract: Contract, invert: bool) -> np.ndarray:
    """Fit an image into the contract's square; bars are black in the result, inverted or not."""
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
