"""Confidence intervals of an accuracy, and of the difference between two accuracies on the same images."""

from math import sqrt
from statistics import NormalDist

import numpy as np


def bound_accuracy(right: int, images: int, confidence: float) -> tuple[float, float]:
    """Return the score interval of an accuracy (Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212).

    >>> low, high = bound_accuracy(45, 50, 0.95)
    >>> f"{low:.3f} to {high:.3f}"
    '0.786 to 0.957'

    It stays within 0 and 1, is never empty, and has its nominal coverage on small test splits, unlike the textbook
    interval, Wald's (Newcombe, Stat. Med. 17, 1998, 857-872). ``scipy.stats.binomtest`` computes the same, but takes
    evaluate another second to import.

    Args:
        right: images predicted correctly.
        images: images predicted, at least one.
        confidence: between 0 and 1, such as 0.95.
    """
    z = _quantile(confidence)
    share = right / images
    center = share + z * z / (2 * images)
    reach = z * sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    # At the ends the formula gives exactly 0 or 1; rounding may miss it by the last bit.
    low = 0.0 if right == 0 else (center - reach) / scale
    high = 1.0 if right == images else (center + reach) / scale
    return low, high


def bound_difference(lost: int, won: int, images: int, confidence: float) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies measured on the same images.

    Only images on which the models disagree carry information about it. This is the adjusted Wald interval for matched
    pairs of Agresti and Min (Stat. Med. 24, 2005, 729-740): Wald's, after adding half an image to each of the four
    cells. For two models that never disagree it is not empty, but narrows around zero as images are added.

    Args:
        lost: images that only the first model gets right.
        won: images that only the second model gets right.
        images: all images, at least one.
        confidence: between 0 and 1, such as 0.95.

    Returns:
        The ends of the interval of (second accuracy - first accuracy), cut off at -1 and 1.
    """
    n = images + 2
    difference = (won - lost) / n
    reach = _quantile(confidence) * sqrt((won + lost + 1) - (won - lost) ** 2 / n) / n
    return max(-1.0, difference - reach), min(1.0, difference + reach)


def measure_difference(before: np.ndarray, after: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return (accuracy after - accuracy before) on the same images, and the ends of its interval.

    Args:
        before: bool (n,), whether the first model is right about each image; n is at least 1.
        after: likewise, of the second model.
        confidence: of the interval.
    """
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return (won - lost) / len(before), *bound_difference(lost, won, len(before), confidence)


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
