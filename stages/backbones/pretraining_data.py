"""Read the pixels of a whole data set into one file, to pretrain on."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.backbones.leakage import pixel_hash
from stages.base.arrays import ArrayFile, ArrayWriter
from stages.base.errors import UserError
from stages.base.prefetch import map_in_threads
from stages.base.processor import count_cores
from stages.base.terminal import format_size, say, show_progress
from stages.images.bit_depth import Extent, find_range, format_range, is_deep, measure_extent
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.load import decode_for, make_pixels
from stages.sources.data_set import Sample
from stages.sources.read import read_data_set
from stages.sources.rejects import say_left_out

# Share of each class that is held out if a data set has neither a test nor a validation part, selected by a hash of the
# bytes of each image.
HELD_OUT = 0.1
_CHUNK = 64  # images that a thread takes at a time: the overhead is small even for small images


@dataclass(frozen=True)
class Pixels:
    """The pixels of a data set.

    Attributes:
        classes: names, in the order of the labels.
        rows: the pixels of all images, uint8 (n, size, size, channels).
        labels: int64 (n,).
        hashes: of the pixels of each image, uint64 (n,).
        train: positions of the training images, int64.
        test: positions of the test images, int64; the validation part if there is no test part.
        unreadable: how many images could not be decoded and are in neither.
        reason: why the first of them could not be decoded; empty if all could.
        contract: how the files became pixels, with the range found.
    """

    classes: list[str]
    rows: ArrayFile
    labels: np.ndarray
    hashes: np.ndarray
    train: np.ndarray
    test: np.ndarray
    unreadable: int
    reason: str
    contract: Contract


def read_pixels(source: Path, contract: Contract, file: Path) -> Pixels:
    """Read every image of a data set.

    Images are decoded in threads and written as they come: a few hundred are in memory at a time.

    Args:
        source: a folder or an archive.
        contract: how image files become pixels.
        file: to write the pixels to.

    Raises:
        UserError: there is no data set, it has only one class, nothing to train on or to test with, or its pixels do
            not fit on the disk.
    """
    data_set = read_data_set(source)
    classes, samples = data_set.classes, data_set.samples
    for part, path in data_set.parts.items():
        say(f"{source}: {part} part: {path}")
    say_left_out(data_set.left_out)
    if len(classes) < 2:
        raise UserError(f"pretrain.source: expected two or more classes in {source}, found {', '.join(classes)}.")
    side, channels = contract.size, contract.channels
    needed, free = len(samples) * side * side * channels, shutil.disk_usage(file.parent).free
    if needed > free:
        raise UserError(
            f"pretrain.source: the pixels of {len(samples):,} images take {format_size(needed)} of disk while they are "
            f"learned; {format_size(free)} are free. Free some, or lower pretrain.image_size."
        )
    writer, read = ArrayWriter(file, len(samples)), list[_Read]()
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    cores = count_cores()
    bar = show_progress(chunks, f"reading {source.name}", len(chunks), f"x {_CHUNK} images")
    for pixels, found in map_in_threads(lambda chunk: _read_chunk(chunk, contract), bar, cores, cores + 2):
        writer.add(pixels)
        read += found
    contract = _read_deep(samples, contract, read, file)
    orders, hashes = [each.order for each in read], [each.hash for each in read]
    label = {name: index for index, name in enumerate(classes)}
    labels = np.array([label[sample.class_name] for sample in samples], dtype=np.int64)
    usable = np.array([bool(order) for order in orders], dtype=bool)
    given = {sample.part for sample in samples}
    held_out = "test" if "test" in given else "val"
    learn = np.array([sample.part in (None, "train") for sample in samples], dtype=bool)
    test = np.array([sample.part == held_out for sample in samples], dtype=bool)
    if not {"test", "val"} & given:
        for number in range(len(classes)):
            rows = sorted(np.flatnonzero(usable & (labels == number)), key=lambda row: orders[row])
            test[rows[: max(1, round(HELD_OUT * len(rows)))]] = True
    known = np.array(hashes, np.uint64)
    twice = np.isin(known, known[usable & test & (known != 0)])  # pictures of the test part are not trained on
    places = {"learn from": np.flatnonzero(usable & learn & ~test & ~twice), "test with": np.flatnonzero(usable & test)}
    for purpose, chosen in places.items():
        if not len(chosen):
            raise UserError(f"{source}: expected readable images to {purpose}, found none.")
    unreadable = len(samples) - int(usable.sum())
    reason = next(
        (f"{sample.source}: {one.reason}" for sample, one in zip(samples, read, strict=True) if one.reason), ""
    )
    train, held = places.values()
    return Pixels(classes, ArrayFile(file), labels, known, train, held, unreadable, reason, contract)


class _Read(NamedTuple):
    """An image: hashes of its file and of its pixels, or the reason why it cannot be read.

    Of an image of more than 8 bits it is the extent, until the range of all is known.
    """

    order: bytes = b""
    hash: int = 0
    extent: Extent | None = None
    reason: str = ""


def _read_chunk(samples: Sequence[Sample], contract: Contract) -> tuple[np.ndarray, list[_Read]]:
    """Return the pixels of images (0 if they have more than 8 bits), and a ``_Read`` of each."""
    pixels = np.zeros((len(samples), contract.size, contract.size, contract.channels), np.uint8)
    return pixels, [_read(sample, contract, row) for row, sample in zip(pixels, samples, strict=True)]


def _read(sample: Sample, contract: Contract, row: np.ndarray, deep: bool = False) -> _Read:
    try:
        data = sample.data
        image = decode_for(data, contract)
        if is_deep(image) and not deep:
            return _Read(extent=measure_extent(image))
        row[:] = make_pixels(image, contract)
    except (BadImage, OSError) as error:
        return _Read(reason=str(error))
    return _Read(hashlib.sha256(data).digest(), pixel_hash(row))


def _read_deep(samples: Sequence[Sample], contract: Contract, read: list[_Read], file: Path) -> Contract:
    """Find the range of the training images of more than 8 bits; read all such images, and fill in their pixels.

    Only these are decoded twice.

    Returns:
        The contract with that range.
    """
    places = [place for place, each in enumerate(read) if each.extent]
    if not places:
        return contract
    learned = [each for place in places if samples[place].part in (None, "train") and (each := read[place].extent)]
    contract = replace(contract, range=find_range(learned))
    found = f"of {len(learned)} images of more than 8 bits" if learned else "no image to learn has more than 8 bits"
    say(f"range: {format_range(contract.range)}, {found}")
    rows = np.load(file, mmap_mode="r+")

    def fill(place: int) -> _Read:
        return _read(samples[place], contract, rows[place], deep=True)

    cores = count_cores()
    for place, filled in zip(places, map_in_threads(fill, places, cores, cores + 2), strict=True):
        read[place] = filled
    rows.flush()
    return contract
