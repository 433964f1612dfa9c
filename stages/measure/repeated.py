"""Accuracy over several trainings that were measured on the same images, with an interval over both."""

from math import sqrt

import numpy as np
from scipy.stats import norm, t

_DRAWS = 2000
_BLOCK = 100  # draws at a time, which bounds memory


def bound_over_runs(values: np.ndarray, confidence: float, *, gain: bool = False) -> tuple[float, float]:
    """Return the interval of the mean over trainings and images, of which those at hand are a sample.

    Runs and images are drawn anew, each with replacement and independently of each other, and the 2,000 means give the
    interval's ends: the pigeonhole bootstrap (Owen, Ann. Appl. Stat. 1, 2007, 386-411) for values that are crossed in
    two factors. It tends to be wider than needed, never much too narrow, for many runs; for few, the deviation of a
    draw that stems from the runs is enlarged by sqrt(n / (n - 1)) and the ratio of Student's t to the normal quantile
    (Hesterberg, Am. Stat. 69, 2015, 371-386). As in the intervals over images alone, four pseudo-images, two of them
    right in each run (Agresti and Coull, Am. Stat. 52, 1998, 119-126), or for a gain two (Agresti and Min, Stat. Med.
    24, 2005, 729-740), keep it from collapsing where all runs are right about all images.

    Args:
        values: (runs, images), 1 where a run is right about an image and 0 where it is wrong; at least two runs. For a
            gain, the differences of two such arrays.
        confidence: between 0 and 1, such as 0.95.
        gain: whether they are differences.
    """
    runs, images = values.shape
    pseudo, shares = ((1, -1, 0), (0.5, 0.5, 1)) if gain else ((1, 0), (2, 2))
    values = np.hstack([values, np.tile(pseudo, (runs, 1))]).astype(float)
    weights = np.array([*np.ones(images), *shares])
    total = int(weights.sum())
    level = (1 + confidence) / 2
    factor = sqrt(runs / (runs - 1)) * t.ppf(level, runs - 1) / norm.ppf(level)
    of_run = values @ weights / total
    generator = np.random.default_rng(1)
    means: list[np.ndarray] = []
    for _ in range(0, _DRAWS, _BLOCK):
        drawn_runs = generator.multinomial(runs, np.full(runs, 1 / runs), _BLOCK) / runs
        drawn_images = generator.multinomial(total, weights / total, _BLOCK) / total
        means.append(((drawn_runs @ values) * drawn_images).sum(axis=1))
        means[-1] += (factor - 1) * (drawn_runs @ of_run - of_run.mean())
    low, high = np.quantile(np.concatenate(means), [1 - level, level])
    return max(float(low), -1.0 if gain else 0.0), min(float(high), 1.0)
