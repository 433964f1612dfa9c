"""Choose a few images that stand for all."""

import numpy as np


def choose_balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of ``count`` images, as many of each class as there are: the first ones of each, in turn.

    >>> choose_balanced(np.array([0, 0, 0, 1, 1, 2]), 4)
    array([0, 1, 3, 5])

    Args:
        labels: int (n,), of rows in random order.
        count: of images; fewer if there are fewer.
    """
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])  # where the class of each begins
    turns = np.empty(len(labels), np.int64)
    turns[order] = np.arange(len(labels)) - starts
    return np.sort(np.lexsort((labels, turns))[:count])
