"""A few images in the views the network learned from, kept to be looked at."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.base.arrays import open_arrays
from stages.base.files import refuse_damaged

IMAGES, VIEWS = 6, 8  # at most so many are kept


@dataclass(frozen=True)
class PreviewImage:
    """One image of the training split.

    Attributes:
        source: its path inside the data set.
        class_name: what it shows.
        shares: for each of its views the names of the classes in it with their shares, the largest first.
    """

    source: str
    class_name: str
    shares: list[list[tuple[str, float]]]


def choose_images(labels: np.ndarray) -> list[int]:
    """Return the places of the images to keep: the first of each class, in the order of the classes, up to IMAGES."""
    places: list[int] = np.unique(labels, return_index=True)[1][:IMAGES].tolist()
    return places


def write_preview(
    path: Path, views: Sequence[tuple[np.ndarray, np.ndarray]], sources: Sequence[str], classes: Sequence[str]
) -> None:
    """Write the views of some images to one ``.npz`` file; nothing where each has one view, the image itself.

    Args:
        path: the file to write.
        views: pixels, uint8 (side, side, channels), and the share of each class in them, (classes,): all views of the
            first image, then as many of the second, and so on.
        sources: path of each image.
        classes: all names.
    """
    count = len(views) // len(sources)
    images = []
    for place, source in enumerate(sources if count > 1 else []):
        shares = [_named(target, classes) for _, target in views[place * count : (place + 1) * count]]
        images.append(PreviewImage(source, shares[0][0][0], shares))
    pixels = np.stack([pixels for pixels, _ in views]).reshape(len(sources), count, *views[0][0].shape)
    text = json.dumps([asdict(image) for image in images], ensure_ascii=False)
    # Not compressed: the bytes, on which training depends, are then the same with every version of zlib.
    np.savez(path, pixels=pixels[: len(images)], captions=np.array(text))


def _named(target: np.ndarray, classes: Sequence[str]) -> list[tuple[str, float]]:
    shares = [(classes[place], float(target[place])) for place in np.flatnonzero(target).tolist()]
    return sorted(shares, key=lambda share: -share[1])


def read_preview(path: Path) -> tuple[np.ndarray, list[PreviewImage]]:
    """Return what ``write_preview`` wrote: uint8 (images, views, side, side, channels), and what is in them."""
    with refuse_damaged(path, "views of images"), open_arrays(path) as arrays:
        return arrays["pixels"], [PreviewImage(**image) for image in json.loads(str(arrays["captions"]))]
