"""Fully decode every image of a data set, and identify each by the hash of its pixels."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from stages.base.prefetch import map_in_threads
from stages.base.processor import count_cores
from stages.cluster.cluster import Cluster
from stages.images.bit_depth import Extent, convert_to_8_bits, encode_values, is_deep, measure_extent, stretch_to_8_bits
from stages.images.contract import Polarity, Range
from stages.images.decode import BadImage, NotAnImage, read_image
from stages.sources.data_set import Reject, Sample
from stages.sources.tree import is_image

S = TypeVar("S")
T = TypeVar("T")

# Images per task of a thread: enough that the overhead is negligible even for small images.
CHUNK = 16
SENT = 32  # images per task of a cluster


@dataclass(frozen=True)
class ExaminedImage:
    """A sample that was decoded, without its pixels.

    Attributes:
        sample: the sample.
        pixels: the hash of its pixels.
        width: in pixels, turned upright.
        height: in pixels, turned upright.
        picture: see ``hash_picture``; None if it was not requested.
        extent: of its values, if they have more than 8 bits.
    """

    sample: Sample
    pixels: str
    width: int
    height: int
    picture: tuple[int, int] | None = None
    extent: Extent | None = None


def examine(
    samples: Sequence[Sample],
    near: bool = False,
    handwriting: Polarity | None = None,
    cluster: Cluster | None = None,
) -> Iterator[ExaminedImage | Reject]:
    """Fully decode each sample, in threads (Pillow releases the GIL).

    Args:
        samples: the samples.
        near: whether to compute perceptual hashes, too, for near duplicates.
        handwriting: the polarity of handwriting, if the samples are to be in the ink form; None for other images. In
            images of more than 8 bits ``find_blank`` looks for it later, when their range is known.
        cluster: that computes; None: this machine. The bytes of the images are read here in any case.

    Yields:
        For each sample, in order, the examined image, or the reason why it cannot be decoded or has no handwriting.
    """
    function = partial(_examine, near=near, handwriting=handwriting)
    return _examine_on(cluster, function, samples) if cluster else _map_in_chunks(function, samples)


def _examine_on(
    cluster: Cluster, function: Callable[[Sample], ExaminedImage | Reject], samples: Sequence[Sample]
) -> Iterator[ExaminedImage | Reject]:
    cores = count_cores()
    detached = map_in_threads(_detach, samples, cores, 2 * cores)
    chunks = ((first, list(islice(detached, SENT))) for first in range(0, len(samples), SENT))
    waiting: dict[int, list[ExaminedImage | Reject]] = {}
    at = 0
    for first, results in cluster.map(partial(_examine_detached, function), chunks):
        waiting[first] = results
        while found := waiting.pop(at, None):
            for sample, result in zip(samples[at : at + SENT], found, strict=True):
                yield replace(result, sample=sample) if isinstance(result, ExaminedImage) else result
            at += SENT


def _detach(sample: Sample) -> Sample:
    """Return a sample that can be sent: it holds its bytes, or the error of reading them."""
    try:
        return replace(sample, read=partial(bytes, sample.data))
    except OSError as error:
        return replace(sample, read=partial(_fail, error))


def _fail(error: OSError) -> bytes:
    raise error


def _examine_detached(
    function: Callable[[Sample], ExaminedImage | Reject], samples: Sequence[Sample]
) -> list[ExaminedImage | Reject]:
    """Examine samples that were sent; their bytes are not sent back."""
    results = map(function, samples)
    return [
        replace(result, sample=replace(result.sample, read=bytes)) if isinstance(result, ExaminedImage) else result
        for result in results
    ]


def find_blank(images: Sequence[ExaminedImage], values: Range | None, polarity: Polarity | None) -> list[Reject]:
    """Return the images of more than 8 bits without handwriting.

    Args:
        images: of any bit depth; ``examine`` has already checked those of 8 bits.
        values: see ``stages.images.contract.Contract.range``.
        polarity: of the handwriting; None if the images are not to be in the ink form.
    """
    if polarity is None:
        return []

    def find(image: ExaminedImage) -> Reject | None:
        try:
            _find_handwriting(convert_to_8_bits(read_image(image.sample.data), values), polarity)
        except BadImage as error:
            return Reject(image.sample.source, image.sample.class_name, str(error))
        return None

    return [lacking for lacking in _map_in_chunks(find, [image for image in images if image.extent]) if lacking]


def _map_in_chunks(function: Callable[[S], T], items: Sequence[S]) -> Iterator[T]:
    chunks = (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
    cores = count_cores()
    return chain.from_iterable(map_in_threads(lambda chunk: list(map(function, chunk)), chunks, cores, 2 * cores))


def _examine(sample: Sample, near: bool, handwriting: Polarity | None) -> ExaminedImage | Reject:
    try:
        image = read_image(sample.data)
        deep = is_deep(image)
        if handwriting is not None and not deep:
            _find_handwriting(image, handwriting)
    except BadImage as error:
        is_none = isinstance(error, NotAnImage) and not is_image(sample.source)
        return Reject(sample.source, sample.class_name, str(error), "no image" if is_none else "unreadable")
    except OSError as error:
        return Reject(sample.source, sample.class_name, f"cannot be read: {error.strerror}")
    pixels = hashlib.sha256(f"{image.width}x{image.height}".encode())
    # A gray image is the same picture if its file has three equal channels.
    pixels.update((deep and encode_values(image)) or convert_to_8_bits(image, None).convert("RGB").tobytes())
    picture = hash_picture(stretch_to_8_bits(image)) if near else None
    return ExaminedImage(
        sample, pixels.hexdigest(), image.width, image.height, picture, measure_extent(image) if deep else None
    )


def _find_handwriting(image: Image.Image, polarity: Polarity) -> None:
    from stages.images.ink import find_handwriting  # here: photographs do not need SciPy

    find_handwriting(np.asarray(image.convert("L")), polarity == "dark_on_light")


_SIDE = 32  # pixels to which pHash shrinks a picture


def hash_picture(image: Image.Image) -> tuple[int, int]:
    """Return the 64-bit perceptual hashes of a picture and of its mirror image.

    It is pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"): the signs of 64 low
    frequencies of the gray values.
    """
    import imagehash  # here: it imports slowly, and most data sets do not need it

    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    hashes = (imagehash.phash(picture) for picture in (small, ImageOps.mirror(small)))
    first, second = (int.from_bytes(np.packbits(each.hash).tobytes(), "big") for each in hashes)
    return first, second
