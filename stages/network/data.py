"""What ``extract`` kept, as training reads it."""

from pathlib import Path

import numpy as np

from stages.network.batches import Data, Kept
from stages.network.fresh import Fresh
from stages.network.kept import FEATURES, PIXELS, Description, StoredRows

# Fresh views of the thawed phase are numbered from here on, beyond the epochs of any head: it sees none of them again.
THAWED = 1_000_000


def read_data(folder: Path, split: str, what: str, description: Description) -> Data | None:
    """Return what ``extract`` kept of a split; None where the split has no images.

    Args:
        folder: where it was written.
        split: ``train`` or ``val``.
        what: ``features`` (for the head), or what the thawed layers' depth has kept (see ``Depth``); where views are
            fresh, both are the pixels.
        description: of what was kept.
    """
    first = 1 if what == FEATURES else THAWED
    if description.fresh is not None:
        what = PIXELS
    path = folder / f"{split}_{what}.npy"
    if not path.exists():
        return None
    inputs, classes = StoredRows(path), len(description.classes)
    shares = folder / f"{split}_targets.npy"
    if shares.exists():
        return Kept(inputs, np.load(shares, allow_pickle=False), classes)
    labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
    if description.fresh is not None and split == "train":
        return Fresh(inputs, labels, classes, description.fresh["augment"], description.fresh["seed"], first)
    return Kept(inputs, labels, classes)
