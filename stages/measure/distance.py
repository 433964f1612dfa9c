"""How far an image is from all that was learned: the Mahalanobis distance of its features from the nearest class mean.

Lee, Lee, Lee and Shin, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks
(NeurIPS 2018), with one covariance for all classes. Features are normalized first (Müller and Hein, Mahalanobis++,
ICML 2025): otherwise images with weak features, such as plain colors, seem near to everything. The covariance is
shrunk as Ledoit and Wolf (J. Multivar. Anal. 88, 2004, 365-411) say, because few images have as many features.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

_SMALLEST = 1e-12  # length of a vector of features
_LEAST = 1e-3  # shrinkage, so that graphs in float32 can tell distances
_NO_PART = 1e-6  # weight of a direction in which the images do not differ


@dataclass(frozen=True)
class Distance:
    """A squared distance, in a form that takes three matrix products.

    Of features normalized to the length 1, u, it is the lowest of ``offset - |u @ scale|² + u @ kernel + bias``.

    Attributes:
        offset: a number.
        scale: (features, directions): those in which training images differ within their classes.
        kernel: (features, classes).
        bias: (classes,).
    """

    offset: float
    scale: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of each image, float64 (n,).

        Args:
            features: (n, features).
        """
        unit = normalize(features)
        inside = self.offset - ((unit @ self.scale) ** 2).sum(axis=1)
        return np.asarray(inside + (unit @ self.kernel + self.bias).min(axis=1))

    def divide(self, by: float) -> "Distance":
        """Return the distance divided by a positive number."""
        return Distance(self.offset / by, self.scale / np.sqrt(by), self.kernel / by, self.bias / by)


def normalize(features: np.ndarray) -> np.ndarray:
    """Return rows of the length 1, float64."""
    wide = features.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _SMALLEST))


def fit_distance(features: np.ndarray, labels: np.ndarray) -> Distance:
    """Return the distance from what training images show.

    Args:
        features: of the training images, (n, features).
        labels: int (n,), their classes.
    """
    from threadpoolctl import threadpool_limits

    unit = normalize(features)
    known, places = np.unique(labels, return_inverse=True)
    with threadpool_limits(1):  # else the last bits depend on the number of cores
        means = np.stack([unit[places == place].mean(axis=0) for place in range(len(known))])
        rows = unit - means[places]
        wide = len(rows) < rows.shape[1]
        values, vectors = np.linalg.eigh((rows @ rows.T if wide else rows.T @ rows) / len(rows))
        shrinkage, mean = shrink(rows, values)
        background = max(shrinkage * mean, _SMALLEST)
        # The inverse covariance times ``background`` is 1 minus ``weights`` along the directions.
        values = np.maximum(values, 0)
        weights = 1 - background / ((1 - shrinkage) * values + background)
        kept = weights > _NO_PART
        directions = rows.T @ vectors[:, kept] / np.sqrt(len(rows) * values[kept]) if wide else vectors[:, kept]
        scale = directions * np.sqrt(weights[kept])
        turned = means - means @ scale @ scale.T
    return Distance(1.0, scale, -2 * turned.T, (means * turned).sum(axis=1))


def shrink(rows: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the share by which Ledoit and Wolf shrink a covariance to a multiple of the unit matrix, and the multiple.

    Args:
        rows: (n, features), of mean 0.
        values: eigenvalues of their covariance; those of zero may be missing.
    """
    count, features = rows.shape
    mean, squares = values.sum() / features, (values**2).sum()
    noise = (((rows**2).sum(axis=1) ** 2).mean() - squares) / count
    spread = squares - features * mean**2
    return (float(np.clip(noise / spread, _LEAST, 1)) if spread > 0 else 1.0), float(mean)


def choose_limit(distances: np.ndarray, lost: float) -> float | None:
    """Return the limit that a further image of the same kind exceeds with a probability of at most ``lost``.

    Its place among n + 1 images is as likely to be one as another (conformal prediction: Vovk, Gammerman and Shafer,
    2005).

    Args:
        distances: (n,), of images that the distance was not fitted to.
        lost: the share.

    Returns:
        None if there are too few images.
    """
    place = ceil((len(distances) + 1) * (1 - lost))
    return float(np.sort(distances)[place - 1]) if place <= len(distances) else None
