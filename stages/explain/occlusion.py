"""Occlusion maps: how much a class loses while a square of the image is covered (Zeiler and Fergus, ECCV 2014)."""

from collections.abc import Callable

import numpy as np

_CELLS = 8  # of the map in each direction; the square covers two by two


def occlude(
    pixels: np.ndarray, targets: np.ndarray, predict: Callable[[np.ndarray], np.ndarray], batch_size: int
) -> np.ndarray:
    """Return the occlusion maps of an image.

    The square has the median color of the image: on paper or a black ground, it removes what is drawn.

    Args:
        pixels: the image, uint8 (side, side, channels).
        targets: int (k,), the classes to make a map of.
        predict: returns probabilities (n, classes) for pixels (n, side, side, channels).
        batch_size: images at a time.

    Returns:
        float64 (k, cells, cells): the mean loss of log-odds over the squares that cover a cell.
    """
    ends = np.linspace(0, len(pixels), _CELLS + 1).round().astype(int)
    corners = [(row, column) for row in range(_CELLS - 1) for column in range(_CELLS - 1)]
    images = np.repeat(pixels[None], 1 + len(corners), axis=0)
    color = np.median(pixels, axis=(0, 1)).astype(np.uint8)
    for image, (row, column) in zip(images[1:], corners, strict=True):
        image[ends[row] : ends[row + 2], ends[column] : ends[column + 2]] = color
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    odds = log_odds(np.concatenate([predict(batch) for batch in batches]))[:, targets]
    total, count = np.zeros((len(targets), _CELLS, _CELLS)), np.zeros((_CELLS, _CELLS))
    for (row, column), loss in zip(corners, odds[0] - odds[1:], strict=True):
        total[:, row : row + 2, column : column + 2] += loss[:, None, None]
        count[row : row + 2, column : column + 2] += 1
    return total / count


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the logarithm of the odds of each class, float64 (n, classes).

    It still varies where a probability is rounded to one: the odds are computed from the other classes.

    Args:
        probabilities: (n, classes).
    """
    wide = np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)
    return np.asarray(np.log(wide) - np.log(wide @ (1 - np.eye(wide.shape[1]))))
