"""Mix the views of two images and their targets: mixup and CutMix.

mixup: Zhang, Cisse, Dauphin and Lopez-Paz, mixup: Beyond Empirical Risk Minimization (2018): a weighted sum.
CutMix: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (2019): a
piece of one image in the other. If both are on, each view uses one of them, with equal probability.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np

from stages.base.prefetch import map_in_threads
from stages.base.processor import count_cores
from stages.images.augment import Augment, make_generator, make_view

WINDOW = 64  # images among which a partner is drawn; constant, so that views do not depend on batch sizes
_MIXING = 1  # separates these random values from those of the view itself

View = tuple[np.ndarray, np.ndarray]  # the pixels of a view, and the share of each class in it


def make_views(
    images: Iterable[np.ndarray], labels: np.ndarray, views: int, classes: int, limits: Augment, seed: int
) -> Iterator[View]:
    """Yield all views of each image in order, computing several at a time.

    Args:
        images: uint8, (side, side, channels) each.
        labels: their classes, int64 (images,).
        views: the number of views per image; the first is the image itself, never mixed.
        classes: the number of classes.
        limits: of the augmentation.
        seed: of the random values.

    Yields:
        Views as ``mix_view`` returns them, with partners from the same window of WINDOW images.
    """

    def jobs() -> Iterator[Callable[[], View]]:
        stream, start = iter(images), 0
        while window := list(islice(stream, WINDOW)):
            targets = np.eye(classes, dtype=np.float32)[labels[start : start + len(window)]]
            start += len(window)
            for place in range(len(window)):
                for number in range(views):
                    yield partial(draw_view, place, window, targets, number, limits, seed)

    return map_in_threads(lambda job: job(), jobs(), count_cores(), WINDOW)


def draw_view(
    place: int, images: Sequence[np.ndarray], targets: np.ndarray, number: int, limits: Augment, seed: int
) -> View:
    """Return view ``number`` of the image at ``place`` of a window; the arguments are those of ``mix_view``.

    Args:
        place: index of the image.
        images: of the window.
        targets: the share of each class in them.
        number: of the view.
        limits: of the augmentation.
        seed: of the random values.
    """
    return mix_view(
        place, images, targets, number, limits, seed, lambda at: make_view(images[at], number, limits, seed)
    )


def mix_view(
    place: int,
    images: Sequence[np.ndarray],
    targets: np.ndarray,
    number: int,
    limits: Augment,
    seed: int,
    views: Callable[[int], np.ndarray],
) -> View:
    """Return view ``number`` of the image at ``place``, mixed with that of another image if mixing is on.

    The partner and its share depend only on the seed, the view's number and the pixels of the image at ``place``.

    Args:
        place: index of the image.
        images: uint8, (side, side, channels) each.
        targets: the share of each class in them, float32 (images, classes).
        number: of the view; 0, the image itself, is never mixed.
        limits: of the augmentation.
        seed: of the random values.
        views: returns view ``number`` of the image at an index.

    Returns:
        The pixels, uint8 (side, side, channels), and the share of each class in them, float32 (classes,).
    """
    own, others = views(place), len(images) - 1
    if number == 0 or others == 0 or not limits.mixes:
        return own, targets[place]
    draw = make_generator(images[place], number, seed, _MIXING)
    partner = (place + int(draw.integers(1, others + 1))) % len(images)
    cut = limits.cutmix > 0 and (limits.mixup == 0 or draw.random() < 0.5)
    alpha = limits.cutmix if cut else limits.mixup
    pixels, share = (cutmix if cut else mixup)(own, views(partner), float(draw.beta(alpha, alpha)), draw)
    return pixels, share * targets[place] + (1 - share) * targets[partner]


def mixup(own: np.ndarray, other: np.ndarray, share: float, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the weighted sum of two images, and the weight of the first.

    Args:
        own: the first image, uint8.
        other: the second one, of the same shape.
        share: the weight of the first.
        draw: not used; ``cutmix`` needs it.
    """
    return np.rint(share * own.astype(np.float32) + (1 - share) * other.astype(np.float32)).astype(np.uint8), share


def cutmix(own: np.ndarray, other: np.ndarray, share: float, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the first image with a rectangle of the second, and the first image's share of the pixels.

    The rectangle has the image's proportions and a random center, so the edges may clip it; the returned share accounts
    for that.

    Args:
        own: the first image, uint8.
        other: the second one, of the same shape.
        share: the first image's share of the pixels, if the edges clip nothing.
        draw: the random generator.
    """
    height, width = own.shape[:2]
    length, middle = np.sqrt(1 - share), draw.random(2)
    top, left = (int(np.rint((m - length / 2) * n)) for m, n in zip(middle, (height, width), strict=True))
    bottom, right = top + int(np.rint(length * height)), left + int(np.rint(length * width))
    inside = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    pixels = own.copy()
    pixels[inside] = other[inside]
    area = (inside[0].stop - inside[0].start) * (inside[1].stop - inside[1].start)
    return pixels, 1 - area / (height * width)
