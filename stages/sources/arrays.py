"""A whole data set as arrays in memory: what a network is pretrained on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.base.stage import UserError, progress
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.load import load
from stages.sources.samples import read_set

# Where a data set publishes no test part, this share of each class is held back, picked by each image's bytes.
HELD_BACK = 0.1


@dataclass(frozen=True)
class Arrays:
    """A data set.

    Attributes:
        classes: names, in the order of the labels.
        train, test: pixels uint8 (n, size, size, channels) and labels int64 (n,). The published division where there
            is one.
        unreadable: how many images were left out because they could not be decoded.
    """

    classes: list[str]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    unreadable: int


def read_arrays(source: Path, contract: Contract) -> Arrays:
    """Read every image of the data set at ``source`` (a folder or an archive) through the one loader.

    Raises:
        UserError: there is no data set, or nothing in it to learn from or to test with.
    """
    data_set = read_set(source)
    classes = data_set.classes
    label = {name: index for index, name in enumerate(classes)}
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    parts: list[str | None] = []
    order: list[bytes] = []
    unreadable = 0
    for sample in progress(data_set.samples, f"reading {source.name}", len(data_set.samples)):
        try:
            data = sample.data
            pixels.append(load(data, contract))
        except (BadImage, OSError):
            unreadable += 1
            continue
        labels.append(label[sample.class_name])
        parts.append(sample.part)
        order.append(hashlib.sha256(data).digest())
    known = np.array(labels, dtype=np.int64)
    test = np.array([part == "test" for part in parts], dtype=bool)
    if not any(parts):
        for number in range(len(classes)):
            rows = sorted(np.flatnonzero(known == number), key=lambda row: order[row])
            test[rows[: max(1, round(HELD_BACK * len(rows)))]] = True
    for purpose, chosen in (("train", ~test), ("test", test)):
        if not chosen.any():
            raise UserError(f"{source}: expected readable images to {purpose} with, found none.")
    stacked = np.stack(pixels)
    return Arrays(classes, (stacked[~test], known[~test]), (stacked[test], known[test]), unreadable)
