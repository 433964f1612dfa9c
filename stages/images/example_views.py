"""Draw the augmented views of a few training images, for the report."""

import numpy as np

from stages.images.augment import Augment
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.mixup import WINDOW, View, draw_view, make_views
from stages.images.split_file import SplitFile

IMAGES, VIEWS = 6, 8  # at most


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
