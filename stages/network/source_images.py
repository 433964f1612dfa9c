"""The pixels of a whole data set in one file: what a network is pretrained on."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.base.ahead import in_parallel
from stages.base.stage import UserError, progress, say
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.learned import pixel_hash
from stages.images.load import load
from stages.network.kept import RowWriter, StoredRows, readable
from stages.sources.rejects import say_left_out
from stages.sources.sample import Sample
from stages.sources.samples import read_set

# Where a data set has neither a test nor a validation part, this share of each class is held back, picked by each
# image's bytes.
HELD_BACK = 0.1
_CHUNK = 64  # images that a thread takes at a time: handing them over costs nothing beside decoding even the smallest


@dataclass(frozen=True)
class Pixels:
    """A data set.

    Attributes:
        classes: names, in the order of the labels.
        rows: the pixels of all images, uint8 (n, size, size, channels).
        labels: int64 (n,).
        hashes: of the pixels of each image, uint64 (n,).
        train: places of the images to learn, int64; the training part where there is one.
        test: places of the images to measure with, likewise; the validation part where there is no test part.
        unreadable: how many images are in neither because they could not be decoded.
    """

    classes: list[str]
    rows: StoredRows
    labels: np.ndarray
    hashes: np.ndarray
    train: np.ndarray
    test: np.ndarray
    unreadable: int


def read_pixels(source: Path, contract: Contract, file: Path) -> Pixels:
    """Read every image of the data set at ``source`` (a folder or an archive) through the one loader.

    Images are decoded in threads and written to ``file`` as they come: memory holds a few hundred at a time.

    Raises:
        UserError: there is no data set, it has one class alone, nothing in it to learn from or to test with, or its
            pixels do not fit on the disk.
    """
    data_set = read_set(source)
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
            f"pretrain.source: the pixels of {len(samples):,} images take {readable(needed)} of disk while they are "
            f"learned; {readable(free)} are free. Free some, or lower pretrain.image_size."
        )
    writer, orders, hashes = RowWriter(file, len(samples)), list[bytes](), list[int]()
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    cores = os.cpu_count() or 1
    bar = progress(chunks, f"reading {source.name}", len(chunks), f"x {_CHUNK} images")
    for pixels, order, found in in_parallel(lambda chunk: _read(chunk, contract), bar, cores, cores + 2):
        writer.add(pixels)
        orders += order
        hashes += found
    label = {name: index for index, name in enumerate(classes)}
    labels = np.array([label[sample.class_name] for sample in samples], dtype=np.int64)
    usable = np.array([bool(order) for order in orders], dtype=bool)
    given = {sample.part for sample in samples}
    held_back = "test" if "test" in given else "val"
    learn = np.array([sample.part in (None, "train") for sample in samples], dtype=bool)
    test = np.array([sample.part == held_back for sample in samples], dtype=bool)
    if not {"test", "val"} & given:
        for number in range(len(classes)):
            rows = sorted(np.flatnonzero(usable & (labels == number)), key=lambda row: orders[row])
            test[rows[: max(1, round(HELD_BACK * len(rows)))]] = True
    known = np.array(hashes, np.uint64)
    twice = np.isin(known, known[usable & test & (known != 0)])  # pictures of the test part are not learned
    places = {"learn from": np.flatnonzero(usable & learn & ~test & ~twice), "test with": np.flatnonzero(usable & test)}
    for purpose, chosen in places.items():
        if not len(chosen):
            raise UserError(f"{source}: expected readable images to {purpose}, found none.")
    unreadable = len(samples) - int(usable.sum())
    train, held = places.values()
    return Pixels(classes, StoredRows(file), labels, known, train, held, unreadable)


def _read(samples: Sequence[Sample], contract: Contract) -> tuple[np.ndarray, list[bytes], list[int]]:
    """Return the pixels of some images, a hash of each file, and one of its pixels; of unreadable ones nothing."""
    pixels = np.zeros((len(samples), contract.size, contract.size, contract.channels), np.uint8)
    orders, hashes = [], []
    for row, sample in zip(pixels, samples, strict=True):
        try:
            data = sample.data
            row[:] = load(data, contract)
        except (BadImage, OSError):
            orders.append(b"")
            hashes.append(0)
            continue
        orders.append(hashlib.sha256(data).digest())
        hashes.append(pixel_hash(row))
    return pixels, orders, hashes
