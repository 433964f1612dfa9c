"""A whole data set as arrays in memory: what a network is pretrained on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.base.stage import UserError, progress
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.load import load
from stages.sources.samples import class_names, samples

# Where a data set publishes no test part, this share of it is held back, picked by each image's bytes.
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


def read_arrays(folder: Path, contract: Contract) -> Arrays:
    """Read every image of the data set in ``folder`` through the one loader.

    Raises:
        UserError: there is no data set, or nothing in it to learn from or to test with.
    """
    classes = class_names(folder)
    label = {name: index for index, name in enumerate(classes)}
    pixels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    unreadable = 0
    for sample in progress(samples(folder), f"reading {folder.name}"):
        try:
            data = sample.data
            image = load(data, contract)
        except (BadImage, OSError):
            unreadable += 1
            continue
        part = sample.part or ("test" if _drawn(data) < HELD_BACK else "train")
        pixels[part].append(image)
        labels[part].append(label[sample.class_name])
    for purpose, found in labels.items():
        if not found:
            raise UserError(f"{folder}: expected readable images to {purpose} with, found none.")
    stacked = {part: (np.stack(pixels[part]), np.array(labels[part], dtype=np.int64)) for part in pixels}
    return Arrays(classes, stacked["train"], stacked["test"], unreadable)


def _drawn(data: bytes) -> float:
    """Return a number in [0, 1) that depends on the bytes alone, so that other images do not change the division."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") / 2**64
