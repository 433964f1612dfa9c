"""What ``extract`` kept, as training reads it."""

from pathlib import Path

import numpy as np

from stages.base.arrays import ArrayFile, ArrayLike
from stages.base.files import read_json, refuse_damaged
from stages.compute.architecture import FEATURES, PIXELS
from stages.training.augmentation import Fresh
from stages.training.dataloader import Data, Kept
from stages.transfer.activations import Description
from stages.transfer.feature_extractor import Frozen, open_frozen
from stages.transfer.freeze import Depth

# Fresh views of the thawed phase are numbered from here on, beyond the epochs of any head: it sees none of them again.
THAWED = 1_000_000


def read_data(folder: Path, split: str, what: str, description: Description) -> Data | None:
    """Return what ``extract`` kept of a split; None where the split has no images.

    Args:
        folder: where it was written.
        split: ``train`` or ``val``.
        what: ``features`` (for the head), or what is kept at the thawed layers' depth (see ``Depth``); where views are
            fresh, both are the pixels.
        description: of what was kept.
    """
    first = 1 if what == FEATURES else THAWED
    if description.fresh:
        what = PIXELS
    path = folder / f"{split}_{what}.npy"
    if not path.exists():
        return None
    inputs, classes = ArrayFile(path), len(description.classes)
    shares, file = folder / f"{split}_targets.npy", folder / f"{split}_labels.npy"
    if shares.exists():
        return Kept(inputs, _read_targets(shares, (len(inputs), classes)), classes)
    labels = _read_targets(file, (len(inputs),))
    if description.fresh and split == "train":
        draws = read_json(folder / "fresh.json")
        with refuse_damaged(folder / "fresh.json", "what draws the views"):
            return Fresh(inputs, labels, classes, draws["augment"], draws["seed"], first)
    return Kept(inputs, labels, classes)


def _read_targets(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    with refuse_damaged(path, f"an array of the shape {shape}"):
        targets: np.ndarray = np.load(path, allow_pickle=False)
        if targets.shape != shape:
            raise ValueError(f"one of the shape {targets.shape}")
        return targets


def read_outputs(
    folder: Path, pretrain: Path, split: str, description: Description, depth: Depth
) -> dict[str, ArrayLike]:
    """Return what the frozen part put out for a split: the features, and the activations at ``depth``.

    If ``extract`` kept the pixels alone, rows are computed from them as they are read.
    """
    names = [FEATURES, *([depth.kept] if depth.frozen < description.layers else [])]
    if not description.fresh:
        return {name: ArrayFile(folder / f"{split}_{name}.npy") for name in names}
    pixels = ArrayFile(folder / f"{split}_{PIXELS}.npy")
    return {name: _Outputs(pixels, name, open_frozen(pretrain, [name], description.pooling)) for name in names}


class _Outputs:
    """Rows that are computed from pixels."""

    def __init__(self, pixels: ArrayLike, name: str, frozen: Frozen) -> None:
        self._pixels, self._name, self._run = pixels, name, frozen.run

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        values: np.ndarray = self._run(self._pixels[places])[self._name]
        return values
