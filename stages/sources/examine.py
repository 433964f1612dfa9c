"""Open every image of a data set for good, and give each an identity: the hash of its pixels."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from stages.images.contract import Polarity
from stages.images.decode import BadImage, NoImage, decode
from stages.images.perceptual import hash_picture
from stages.sources.sample import LeftOut, Sample
from stages.sources.tree import is_image

# Images a thread takes at a time: enough that handing them over costs nothing beside decoding even the smallest.
CHUNK = 16


@dataclass(frozen=True)
class Examined:
    """A sample that can be decoded. It holds no pixels.

    Attributes:
        sample: that was decoded.
        pixels: their hash.
        width: in pixels, when upright.
        height: likewise.
        picture: see ``stages.images.perceptual.hash_picture``; None where that was not asked for.
    """

    sample: Sample
    pixels: str
    width: int
    height: int
    picture: tuple[int, int] | None = None


def examine(
    samples: Sequence[Sample], near: bool = False, handwriting: Polarity | None = None
) -> Iterator[Examined | LeftOut]:
    """Decode each sample to its last pixel, in threads (Pillow lets others run while it decodes).

    Args:
        samples: to be decoded.
        near: whether to hash what they show, too, for finding near duplicates.
        handwriting: how it was written, where the samples are to be brought into the ink form; None for other images.

    Yields:
        For each sample, in the order given, what is known of it, or the reason why it cannot be decoded, or why it
        cannot be brought into the ink form.
    """
    chunks = [samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
    one = partial(_examine, near=near, handwriting=handwriting)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for examined in pool.map(lambda chunk: [one(sample) for sample in chunk], chunks):
            yield from examined


def _examine(sample: Sample, near: bool, handwriting: Polarity | None) -> Examined | LeftOut:
    try:
        image = decode(sample.data)
        if handwriting is not None:
            from stages.images.ink import find_handwriting  # here: it imports SciPy, which photographs do not need

            find_handwriting(np.asarray(image.convert("L")), handwriting == "dark_on_light")
    except BadImage as error:
        is_none = isinstance(error, NoImage) and not is_image(sample.source)
        return LeftOut(sample.source, sample.class_name, str(error), "no image" if is_none else "unreadable")
    except OSError as error:
        return LeftOut(sample.source, sample.class_name, f"cannot be read: {error.strerror}")
    # A grey image is the same picture when its file holds it in three equal channels.
    pixels = hashlib.sha256(f"{image.width}x{image.height}".encode())
    pixels.update(image.convert("RGB").tobytes())
    return Examined(sample, pixels.hexdigest(), image.width, image.height, hash_picture(image) if near else None)
