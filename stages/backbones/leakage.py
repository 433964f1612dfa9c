"""Detect leakage: test images that a backbone was trained on."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from stages.base.arrays import open_arrays
from stages.base.files import refuse_damaged
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.load import load, map_images


def pixel_hash(pixels: np.ndarray) -> int:
    """Return a 64-bit hash of the pixels of an image; 0 if they are all equal.

    Blank images do not show that two data sets share images.
    """
    if pixels.min() == pixels.max():
        return 0
    return int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "big")


def write_learned(path: Path, hashes: np.ndarray, contract: Contract) -> None:
    """Write which images a backbone was trained on.

    Args:
        path: of the file.
        hashes: of the images; see ``pixel_hash``.
        contract: how their files became pixels.
    """
    np.savez(path, hashes=np.unique(hashes[hashes != 0]), contract=np.array(json.dumps(asdict(contract))))


def find_learned(path: Path, images: Iterable[bytes]) -> list[int]:
    """Return the positions of ``images`` that the backbone was trained on.

    A picture is found under another name, in another folder and in another lossless format.

    Args:
        path: of the file that ``write_learned`` wrote.
        images: contents of image files.
    """
    with refuse_damaged(path, "hashes of images"), open_arrays(path) as stored:
        known, contract = set(stored["hashes"].tolist()), Contract(**json.loads(str(stored["contract"])))

    def find(image: bytes) -> bool:
        try:
            return pixel_hash(load(image, contract)) in known
        except BadImage:  # read like the training images it has no handwriting, so it is not one of them
            return False

    return [place for place, found in enumerate(map_images(find, images)) if found]
