"""A hash of what a picture shows: that of nearly the same picture differs in few bits."""

import numpy as np
from PIL import Image, ImageOps

_SIDE = 32  # to which pHash shrinks a picture


def hash_picture(image: Image.Image) -> tuple[int, int]:
    """Return the 64-bit hashes of a picture and of its mirror image.

    It is pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"): the signs of 64 low
    frequencies of the grey values.
    """
    import imagehash  # here: it takes a while, and most data sets are read without it

    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    hashes = (imagehash.phash(picture) for picture in (small, ImageOps.mirror(small)))
    first, second = (int.from_bytes(np.packbits(each.hash).tobytes(), "big") for each in hashes)
    return first, second
