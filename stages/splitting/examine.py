"""Open every image of a data set for good, and give each an identity: the hash of its pixels."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from stages.images.bit_depth import Extent, convert_to_8_bits, encode_values, is_deep, measure_extent, stretch_to_8_bits
from stages.images.contract import Polarity, Range
from stages.images.decode import BadImage, NotAnImage, read_image
from stages.sources.data_set import LeftOut, Sample
from stages.sources.tree import is_image

S = TypeVar("S")
T = TypeVar("T")

# Images a thread takes at a time: enough that handing them over costs nothing beside decoding even the smallest.
CHUNK = 16


@dataclass(frozen=True)
class ExaminedImage:
    """A sample that can be decoded. It holds no pixels.

    Attributes:
        sample: that was decoded.
        pixels: their hash.
        width: in pixels, when upright.
        height: likewise.
        picture: see ``stages.splitting.examine.hash_picture``; None where that was not asked for.
        extent: of its values, where they have more than 8 bits.
    """

    sample: Sample
    pixels: str
    width: int
    height: int
    picture: tuple[int, int] | None = None
    extent: Extent | None = None


def examine(
    samples: Sequence[Sample], near: bool = False, handwriting: Polarity | None = None
) -> Iterator[ExaminedImage | LeftOut]:
    """Decode each sample to its last pixel, in threads (Pillow lets others run while it decodes).

    Args:
        samples: to be decoded.
        near: whether to hash what they show, too, for finding near duplicates.
        handwriting: how it was written, where the samples are to be brought into the ink form; None for other images.
            In images of more than 8 bits ``find_blank`` looks for it, when their range is known.

    Yields:
        For each sample, in the order given, what is known of it, or the reason why it cannot be decoded, or why it
        cannot be brought into the ink form.
    """
    return _map_in_threads(partial(_examine, near=near, handwriting=handwriting), samples)


def find_blank(images: Sequence[ExaminedImage], values: Range | None, polarity: Polarity | None) -> list[LeftOut]:
    """Return those images of more than 8 bits that cannot be brought into the ink form where ``values`` is their range.

    Args:
        images: of any depth; those of 8 bits, in which ``examine`` has looked, are passed over.
        values: see ``stages.images.contract.Contract.range``.
        polarity: how it was written; None for other images, which lack nothing.
    """
    if polarity is None:
        return []

    def find(image: ExaminedImage) -> LeftOut | None:
        try:
            _find_handwriting(convert_to_8_bits(read_image(image.sample.data), values), polarity)
        except BadImage as error:
            return LeftOut(image.sample.source, image.sample.class_name, str(error))
        return None

    return [lacking for lacking in _map_in_threads(find, [image for image in images if image.extent]) if lacking]


def _map_in_threads(function: Callable[[S], T], items: Sequence[S]) -> Iterator[T]:
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            yield from found


def _examine(sample: Sample, near: bool, handwriting: Polarity | None) -> ExaminedImage | LeftOut:
    try:
        image = read_image(sample.data)
        deep = is_deep(image)
        if handwriting is not None and not deep:
            _find_handwriting(image, handwriting)
    except BadImage as error:
        is_none = isinstance(error, NotAnImage) and not is_image(sample.source)
        return LeftOut(sample.source, sample.class_name, str(error), "no image" if is_none else "unreadable")
    except OSError as error:
        return LeftOut(sample.source, sample.class_name, f"cannot be read: {error.strerror}")
    pixels = hashlib.sha256(f"{image.width}x{image.height}".encode())
    # A gray image is the same picture when its file holds it in three equal channels.
    pixels.update((deep and encode_values(image)) or convert_to_8_bits(image, None).convert("RGB").tobytes())
    picture = hash_picture(stretch_to_8_bits(image)) if near else None
    return ExaminedImage(
        sample, pixels.hexdigest(), image.width, image.height, picture, measure_extent(image) if deep else None
    )


def _find_handwriting(image: Image.Image, polarity: Polarity) -> None:
    from stages.images.ink import find_handwriting  # here: it imports SciPy, which photographs do not need

    find_handwriting(np.asarray(image.convert("L")), polarity == "dark_on_light")


_SIDE = 32  # to which pHash shrinks a picture


def hash_picture(image: Image.Image) -> tuple[int, int]:
    """Return the 64-bit hashes of a picture and of its mirror image.

    It is pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"): the signs of 64 low
    frequencies of the gray values.
    """
    import imagehash  # here: it takes a while, and most data sets are read without it

    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    hashes = (imagehash.phash(picture) for picture in (small, ImageOps.mirror(small)))
    first, second = (int.from_bytes(np.packbits(each.hash).tobytes(), "big") for each in hashes)
    return first, second
