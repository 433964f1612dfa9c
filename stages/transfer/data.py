"""Activations and features as training reads them."""

from pathlib import Path

import numpy as np

from stages.base.arrays import ArrayFile, ArrayLike
from stages.base.errors import UserError
from stages.base.files import read_json, refuse_damaged
from stages.compute.architecture import FEATURES, PIXELS
from stages.training.augmentation import AugmentedData
from stages.training.dataloader import ArrayData, Data
from stages.transfer.activations import Description, read_description
from stages.transfer.feature_extractor import FeatureExtractor, open_feature_extractor
from stages.transfer.freeze import Depth

# Index of the thawed phase's first augmented view, beyond those of any head phase, so that no view is used in both.
THAWED = 1_000_000


def read_data(folder: Path, split: str, tensor: str, description: Description) -> Data | None:
    """Return the training data of a split; None if the split has no images.

    Args:
        folder: that ``extract`` wrote.
        split: ``train`` or ``val``.
        tensor: ``features`` (for the head), or ``Depth.tensor`` (for thawed layers); with fresh views, pixels in both
            cases.
        description: of what is in the folder.
    """
    first = 1 if tensor == FEATURES else THAWED
    path = folder / f"{split}_{PIXELS if description.fresh else tensor}.npy"
    if not path.exists():
        return None
    inputs, classes = ArrayFile(path), len(description.classes)
    shares, file = folder / f"{split}_targets.npy", folder / f"{split}_labels.npy"
    if shares.exists():
        return ArrayData(inputs, _read_targets(shares, (len(inputs), classes)), classes)
    labels = _read_targets(file, (len(inputs),))
    if description.fresh and split == "train":
        draws = read_json(folder / "fresh.json")
        with refuse_damaged(folder / "fresh.json", "what draws the views"):
            return AugmentedData(inputs, labels, classes, augment=draws["augment"], seed=draws["seed"], first=first)
    return ArrayData(inputs, labels, classes)


def has_mixed_views(folder: Path) -> bool:
    """Return whether ``extract`` wrote mixed training views, whose targets are shares of each class."""
    return (folder / "train_targets.npy").exists()


def read_groups(folder: Path, rows: int) -> np.ndarray:
    """Return the group of each row, int64 (rows,): see ``stages.images.split_file.SplitFile.groups``.

    Args:
        folder: that ``extract`` wrote.
        rows: how many there are.
    """
    return _read_targets(folder / "train_images.npy", (rows,))


def read_image_features(folder: Path, pretrain: Path, split: str, labels: np.ndarray) -> ArrayLike:
    """Return the features of each image of a split, without those of its augmented views.

    Args:
        folder: that ``extract`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        split: ``train`` or ``val``.
        labels: of its images, int64 (images,), from the split file.

    Raises:
        UserError: ``extract`` ran on other images.
    """
    description = read_description(folder)
    features = read_outputs(folder, pretrain, split, description, description.depths[0])[FEATURES]
    views = len(features) // max(len(labels), 1)
    shares, file = folder / f"{split}_targets.npy", folder / f"{split}_labels.npy"
    if shares.exists():
        known = _read_targets(shares, (len(features), len(description.classes))).argmax(axis=1)
    else:
        known = _read_targets(file, (len(features),))
    if views * len(labels) != len(features) or not np.array_equal(known[:: max(views, 1)], labels):
        raise UserError(
            f"{folder} holds the features of other images than those in data/split. Run `dvc repro extract`."
        )
    return _EveryRow(features, views)


class _EveryRow:
    """Every ``step``-th row of an array: the first view of each image, which is the image itself."""

    def __init__(self, rows: ArrayLike, step: int) -> None:
        self._rows, self._step = rows, step

    def __len__(self) -> int:
        return len(self._rows) // self._step

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        values: np.ndarray = self._rows[places * self._step]
        return values


def _read_targets(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    with refuse_damaged(path, f"an array of the shape {shape}"):
        targets: np.ndarray = np.load(path, allow_pickle=False)
        if targets.shape != shape:
            raise ValueError(f"one of the shape {targets.shape}")
        return targets


def read_outputs(
    folder: Path, pretrain: Path, split: str, description: Description, depth: Depth
) -> dict[str, ArrayLike]:
    """Return the features of a split, and its activations at ``depth``, by name.

    With fresh views, only pixels are stored, and rows are computed from them on access.

    Args:
        folder: that ``extract`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        split: ``train`` or ``val``.
        description: of what ``extract`` wrote.
        depth: one of ``description.depths``.
    """
    names = [FEATURES, *([depth.tensor] if depth.frozen < description.layers else [])]
    if not description.fresh:
        return {name: ArrayFile(folder / f"{split}_{name}.npy") for name in names}
    pixels = ArrayFile(folder / f"{split}_{PIXELS}.npy")
    extractors = {name: open_feature_extractor(pretrain, [name], description.pooling) for name in names}
    return {name: _ComputedRows(pixels, name, extractor) for name, extractor in extractors.items()}


class _ComputedRows:
    """Rows that are computed from pixels."""

    def __init__(self, pixels: ArrayLike, name: str, extractor: FeatureExtractor) -> None:
        self._pixels, self._name, self._run = pixels, name, extractor.run

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        values: np.ndarray = self._run(self._pixels[places])[self._name]
        return values
