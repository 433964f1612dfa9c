"""How sure a measured accuracy is, and how sure the difference of two accuracies on the same images."""

from math import sqrt
from statistics import NormalDist


def wilson(right: int, images: int, confidence: float) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212).

    It stays within 0 and 1, has no width of zero at 0 or 100 %, and holds what it promises on small test splits, where
    the textbook interval (Wald's) does not (Newcombe, Stat. Med. 17, 1998, 857-872).

    Args:
        right: images predicted right.
        images: images predicted, at least one.
        confidence: between 0 and 1, such as 0.95.
    """
    z = _quantile(confidence)
    share = right / images
    center = share + z * z / (2 * images)
    reach = z * sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    # At the ends the formula is exactly 0 or 1; floating point may miss it by a last bit.
    low = 0.0 if right == 0 else (center - reach) / scale
    high = 1.0 if right == images else (center + reach) / scale
    return low, high


def paired_difference(lost: int, won: int, images: int, confidence: float) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies measured on the same images.

    Images that both models get right, or both get wrong, say nothing about the difference; the interval rests on those
    where they disagree. It is the adjusted Wald interval for matched pairs of Agresti and Min (Stat. Med. 24, 2005,
    729-740): Wald's, after adding half an image to each of the four cells. Two models that never disagree get an
    interval around zero whose width falls with the number of images, not one of no width.

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


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
