"""Find images whose labels the data doubt: by held-out predictions, by near duplicates, and far from all others."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBORS = 10
_FAR = 1.5  # interquartile ranges above the third quartile: Tukey's fence (1977, Exploratory Data Analysis)
_COMPARED = 1024  # rows at a time


@dataclass(frozen=True)
class Doubt:
    """An image whose label is in doubt.

    Attributes:
        image: its place.
        suggested: another label; None for an outlier.
        score: the probability of the given label, which is worse the lower it is; NaN if none was predicted. Of an
            outlier, its distance from its neighbors, divided by that of the median image: worse the higher it is.
        probable: whether the label is probably wrong, by confident learning or because of a near duplicate.
        twin: place of a near duplicate with another label, if there is one.
    """

    image: int
    suggested: int | None
    score: float
    probable: bool = False
    twin: int | None = None


def find_doubts(
    labels: np.ndarray, probabilities: np.ndarray, pairs: Sequence[tuple[int, int]], decided: np.ndarray
) -> list[Doubt]:
    """Return the labels that held-out predictions or near duplicates contradict: first those that are probably wrong.

    Both these and the others are ordered by the probability of the label, the lowest first.

    Args:
        labels: of all images, int64 (images,).
        probabilities: of each class, by a classifier that was fitted without the image, float64 (images, classes); rows
            of NaN for images that it did not predict.
        pairs: places of near duplicates.
        decided: of each image, whether somebody has decided on its label, bool (images,); it is not doubted.
    """
    places = np.arange(len(labels))
    score, best = probabilities[places, labels], probabilities.argmax(axis=1)
    probable = set(find_label_issues(labels, probabilities).tolist())
    doubts = {
        place: Doubt(place, int(best[place]), float(score[place]), place in probable)
        for place in np.flatnonzero(score < probabilities[places, best]).tolist()
    }
    for pair in pairs:
        if labels[pair[0]] == labels[pair[1]]:
            continue
        # Of the two, doubt the less probable one, or the one that nobody has decided on.
        image, twin = sorted(pair, key=lambda place: (bool(decided[place]), np.nan_to_num(score[place], nan=1), place))
        known = doubts.get(image)
        suggested = known.suggested if known else int(labels[twin])
        doubts[image] = Doubt(image, suggested, float(score[image]), True, twin)
    kept = (doubt for doubt in doubts.values() if not decided[doubt.image])
    return sorted(kept, key=lambda doubt: (not doubt.probable, np.nan_to_num(doubt.score, nan=1), doubt.image))


def find_label_issues(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the places of labels that are probably wrong, int64 (issues,), by confident learning.

    Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels (Journal of Artificial
    Intelligence Research 70, 2021): an image counts for a class if its probability there is at least the mean among
    the images with that label. The counts estimate how many labels of each class belong to which other one; that many
    of the least plausible are returned.

    Args:
        labels: see ``find_doubts``.
        probabilities: see ``find_doubts``.
    """
    held_out = np.flatnonzero(~np.isnan(probabilities[:, 0]))
    if len(np.unique(labels[held_out])) < 2:
        return held_out[:0]
    from cleanlab.filter import find_label_issues as find  # here: it takes two seconds to import

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues")  # in a class with a single image
        wrong: np.ndarray = find(labels[held_out], probabilities[held_out], n_jobs=1)
    places: np.ndarray = held_out[wrong]
    return places


def measure_distances(features: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, for some images at a time, the mean cosine distance to the nearest NEIGHBORS images, float32 (some,).

    Kuan and Mueller, Back to the Basics: Revisiting Out-of-Distribution Detection Baselines (ICML 2022 workshop on
    Principles of Distribution Shift).

    Args:
        features: of all images, float32 (images, features).
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(lengths > 0, lengths, 1)
    count = min(NEIGHBORS, len(unit) - 1)
    for start in range(0, len(unit), _COMPARED):
        likeness = unit[start : start + _COMPARED] @ unit.T
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -2  # not to itself
        yield 1 - np.sort(np.partition(likeness, -count, axis=1)[:, -count:], axis=1).mean(axis=1)


def count_steps(images: int) -> int:
    """Return how many arrays ``measure_distances`` yields."""
    return -(-images // _COMPARED)


def find_outliers(distances: np.ndarray, decided: np.ndarray) -> list[Doubt]:
    """Return the images that are far from all others, the farthest first.

    Args:
        distances: of each image, from ``measure_distances``, float (images,).
        decided: see ``find_doubts``.
    """
    low, middle, high = np.quantile(distances, [0.25, 0.5, 0.75])
    far = np.flatnonzero((distances > high + _FAR * (high - low)) & ~decided)
    order = far[np.argsort(-distances[far], kind="stable")]
    return [Doubt(int(place), None, float(distances[place] / max(middle, 1e-9))) for place in order]
