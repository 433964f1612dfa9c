"""Store the augmented views of a few training images, for the report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.base.arrays import open_arrays
from stages.base.files import refuse_damaged
from stages.images.augment import Augment
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.mixup import WINDOW, View, draw_view, make_views
from stages.images.split_file import SplitFile

IMAGES, VIEWS = 6, 8  # at most


@dataclass(frozen=True)
class PreviewImage:
    """A training image.

    Attributes:
        source: its path in the data set.
        class_name: its class.
        shares: for each view its classes with their shares, the largest first.
    """

    source: str
    class_name: str
    shares: list[list[tuple[str, float]]]


def choose_images(labels: np.ndarray) -> list[int]:
    """Return the indices of the images to store: the first of each class, for up to IMAGES classes."""
    places: list[int] = np.unique(labels, return_index=True)[1][:IMAGES].tolist()
    return places


def draw_preview(
    split: SplitFile, contract: Contract, views: int, augment: Augment, seed: int, *, fresh: bool
) -> tuple[list[View], list[str]]:
    """Return the first views of a few images, as the network trains on them, and the images' paths.

    Args:
        split: the training images.
        contract: how their files become pixels.
        views: of each image.
        augment: limits of the views.
        seed: of the views.
        fresh: whether epochs draw the views: then each image is shown in VIEWS of them, never mixed.
    """
    labels, sources = split.labels(), split.sources()
    places = choose_images(labels)
    eye = np.eye(len(split.classes), dtype=np.float32)

    def read(first: int, last: int) -> list[np.ndarray]:
        return list(load_all(split.images(first, last), contract))

    if fresh:
        images = [image for place in places for image in read(place, place + 1)]
        return list(make_views(images, labels[places], VIEWS, len(eye), augment, seed)), [sources[p] for p in places]
    shown, window = [], WINDOW if augment.mixes and views > 1 else 1  # partners are needed only if views are mixed
    begun = {place: place // window * window for place in places}
    windows = {first: read(first, min(first + window, len(split))) for first in set(begun.values())}
    for place, first in begun.items():
        targets = eye[labels[first : first + window]]
        for number in range(min(views, VIEWS)):
            shown.append(draw_view(place - first, windows[first], targets, number, augment, seed))
    return shown, [sources[place] for place in places]


def write_preview(
    path: Path, views: Sequence[tuple[np.ndarray, np.ndarray]], sources: Sequence[str], classes: Sequence[str]
) -> None:
    """Write the views of images to one ``.npz`` file; without images if each has one view, the image itself.

    Args:
        path: the file to write.
        views: pixels, uint8 (side, side, channels), and the share of each class in them, (classes,): all views of the
            first image, then the same number of the second, and so on.
        sources: the path of each image.
        classes: the names of all classes.
    """
    count = len(views) // len(sources)
    images = []
    for place, source in enumerate(sources if count > 1 else []):
        shares = [_named(target, classes) for _, target in views[place * count : (place + 1) * count]]
        images.append(PreviewImage(source, shares[0][0][0], shares))
    pixels = np.stack([pixels for pixels, _ in views]).reshape(len(sources), count, *views[0][0].shape)
    text = json.dumps([asdict(image) for image in images], ensure_ascii=False)
    # Not compressed, so that the bytes do not depend on the version of zlib.
    np.savez(path, pixels=pixels[: len(images)], captions=np.array(text))


def _named(target: np.ndarray, classes: Sequence[str]) -> list[tuple[str, float]]:
    shares = [(classes[place], float(target[place])) for place in np.flatnonzero(target).tolist()]
    return sorted(shares, key=lambda share: -share[1])


def are_augmented(pixels: np.ndarray) -> bool:
    """Return whether any view differs from its image.

    Args:
        pixels: uint8 (images, views, side, side, channels), the image itself first.
    """
    return bool((pixels != pixels[:, :1]).any())


def read_preview(path: Path) -> tuple[np.ndarray, list[PreviewImage]]:
    """Read a file of ``write_preview``: uint8 (images, views, side, side, channels), and the images' descriptions."""
    with refuse_damaged(path, "views of images"), open_arrays(path) as arrays:
        return arrays["pixels"], [PreviewImage(**image) for image in json.loads(str(arrays["captions"]))]
