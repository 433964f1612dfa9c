"""Make the source data set from scikit-learn's handwritten digits, in MNIST's format.

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (CC BY 4.0): 1,797 digits of 13 people, scanned
at 32 x 32 and reduced to 8 x 8 by counting the ink in each 4 x 4 block.

    python -m stages.fetch digits       writes data/fetch/digits
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from stages.sources.idx import write_idx

PAPER = 58  # digits of each class in the paper set: a third of the rarest class
SIDE, BOX = 28, 20  # pixels: of MNIST's images, and of the box that each digit is scaled to


@dataclass(frozen=True)
class Scans:
    """Scanned digits."""

    ink: np.ndarray  # (n, 8, 8) float64: how much of each block is ink, 0 to 1
    labels: np.ndarray  # (n,) int64: the digit
    numbers: np.ndarray  # (n,) int64: the position in scikit-learn's array


def divide_digits() -> dict[str, Scans]:
    """Return disjoint sets of digits: ``train`` and ``test`` for the source set, and ``paper``.

    The array lists the digits person by person. Within each class, every third digit goes to the paper set and every
    twelfth to the source's test part, so that everyone's handwriting is in every part.
    """
    from sklearn.datasets import load_digits  # here: it takes a second, and downloads do not need it

    digits = load_digits()
    dealt: dict[str, list[int]] = {"train": [], "test": [], "paper": []}
    for digit in range(10):
        numbers = np.flatnonzero(digits.target == digit)
        turn = np.arange(len(numbers)) % 12
        dealt["paper"] += numbers[turn % 3 == 2][:PAPER].tolist()
        dealt["test"] += numbers[turn == 4].tolist()
        dealt["train"] += numbers[(turn % 3 != 2) & (turn != 4)].tolist()
    parts = {}
    for name, members in dealt.items():
        numbers = np.sort(np.array(members))
        parts[name] = Scans(digits.images[numbers] / 16.0, digits.target[numbers].astype(np.int64), numbers)
    return parts


def draw_like_mnist(ink: np.ndarray) -> np.ndarray:
    """Return one (8, 8) digit as (28, 28) uint8: light on black, in a 20-pixel box, centered by its center of mass.

    LeCun, Bottou, Bengio and Haffner 1998, section III.A.
    """
    padded = np.pad(ink, 1).astype(np.float32)  # so that strokes at the border have soft ends
    side = BOX * len(padded) // len(ink)
    field = np.asarray(Image.fromarray(padded).resize((4 * side, 4 * side), Image.Resampling.BICUBIC))
    crisp = ((field - 0.25) / 0.5).clip(0, 1)  # a pen's edge is sharper than 8 pixels can show
    gray = np.asarray(Image.fromarray(crisp).reduce(4))
    inked = [np.flatnonzero(gray.any(axis=axis)) for axis in (1, 0)]
    gray = gray[tuple(slice(lines[0], lines[-1] + 1) for lines in inked)]
    image = np.zeros((SIDE, SIDE), np.uint8)
    starts = []
    for length, positions in zip(gray.shape, np.indices(gray.shape), strict=True):
        middle = float((gray * positions).sum() / gray.sum())
        starts.append(min(max(round(SIDE / 2 - middle), 0), SIDE - length))
    top, left = starts
    image[top : top + gray.shape[0], left : left + gray.shape[1]] = np.rint(gray * 255)
    return image


def write_digits(folder: Path) -> str:
    """Write the source set into ``folder`` as MNIST's four files; return a description of it."""
    parts = divide_digits()
    for part, prefix in (("train", "train"), ("test", "t10k")):
        scans = parts[part]
        images = np.stack([draw_like_mnist(ink) for ink in scans.ink])
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", scans.labels.astype(np.uint8))
    return f"{len(parts['train'].labels)} + {len(parts['test'].labels)} digits, {SIDE}x{SIDE}, white on black"
