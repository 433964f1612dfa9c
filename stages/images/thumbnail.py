"""Make small pictures of images for the report."""

import io

import numpy as np
from PIL import Image

from stages.images.contract import Range
from stages.images.decode import decode

SIDE = 144  # of the pictures in the report, at most


def make_thumbnail(data: bytes, values: Range | None = None, side: int = SIDE) -> bytes:
    """Return a picture of an image file with sides of at most ``side`` pixels, with the same proportions.

    A small image is enlarged by an integer factor without smoothing, so that its pixels are visible.

    Args:
        data: the file's bytes.
        values: see ``stages.images.contract.Contract.range``.
        side: the maximum width and height, in pixels.

    Returns:
        A PNG file if the image is gray, a JPEG file if it has colors.

    Raises:
        BadImage: the file cannot be decoded.
    """
    return encode(fit_into(decode(data, values=values), side))


def fit_into(image: Image.Image, side: int) -> Image.Image:
    """Return an image with sides of at most ``side`` pixels, enlarged or reduced as ``make_thumbnail`` does."""
    longest = max(image.size)
    if longest > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image
    factor = side // longest
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def encode(image: Image.Image) -> bytes:
    """Return an image as a PNG file if it is gray, as a JPEG file if it has colors."""
    buffer = io.BytesIO()
    if image.mode == "L":
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def encode_thumbnail(pixels: np.ndarray) -> bytes:
    """Return uint8 pixels of shape (height, width, 1 or 3) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
