"""On-the-fly augmentation: each epoch draws new views of the images, while training runs."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from stages.base.arrays import ArrayLike
from stages.images.augment import Augment, make_view
from stages.images.mixup import mix_view


class AugmentedData:
    """``Data`` (see ``dataloader``) of augmented images: in epoch e a row is view ``first + e`` of an image.

    Mixup and CutMix draw partners from the rows of the batch.

    Args:
        pixels: uint8 (n, side, side, channels), in memory or in a file.
        labels: their classes, int64 (n,).
        classes: how many.
        augment: how far views may differ, as the plain fields of ``stages.images.augment.Augment``.
        seed: of the views.
        first: number of the first view; phases see different views if it differs.
    """

    def __init__(
        self,
        pixels: ArrayLike,
        labels: np.ndarray,
        classes: int,
        *,
        augment: dict[str, Any],
        seed: int,
        first: int = 1,
    ) -> None:
        self.labels, self.classes, self._first = labels, classes, first
        self._pixels, self._limits, self._seed = pixels, Augment(**augment), seed
        self._pool = ThreadPoolExecutor()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``Data``; views are drawn in threads."""
        images, number = list(self._pixels[rows]), self._first + epoch
        views = list(self._pool.map(lambda image: make_view(image, number, self._limits, self._seed), images))
        mix = partial(
            mix_view,
            images=images,
            targets=np.eye(self.classes, dtype=np.float32)[self.labels[rows]],
            number=number,
            limits=self._limits,
            seed=self._seed,
            views=views.__getitem__,
        )
        drawn = list((self._pool.map if self._limits.mixes else map)(mix, range(len(rows))))
        return np.stack([pixels for pixels, _ in drawn]), np.stack([target for _, target in drawn])
