"""Parity: whether an exported model gives the probabilities that evaluate measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.base.errors import UserError


@dataclass(frozen=True)
class Parity:
    """How closely an exported model agrees with the measured one.

    Attributes:
        largest_difference: of any probability of any image.
        equal_labels: share of images with the same most probable class, 0-1.
        ties: images with another one, because both classes are equally probable within the bound.
    """

    largest_difference: float
    equal_labels: float
    ties: int


def compare(name: str, expected: np.ndarray, received: np.ndarray, bound: float, images: Sequence[str]) -> Parity:
    """Compare the probabilities of an exported model with the measured ones.

    >>> compare("onnx", np.array([[0.9, 0.1]]), np.array([[0.89, 0.11]]), 0.02, ["cat/1.png"])
    Parity(largest_difference=0.01, equal_labels=1.0, ties=0)

    Args:
        name: of the format, for messages.
        expected: as measured, (n, classes), n > 0.
        received: the exported model's, of the same shape.
        bound: the largest difference allowed.
        images: their names, for messages.

    Raises:
        UserError: a probability differs by more than the bound, or a label differs and is no tie.
    """
    differences = np.abs(expected.astype(np.float64) - received).max(axis=1)
    labels, others = expected.argmax(axis=1), received.argmax(axis=1)
    rows = np.arange(len(expected))
    differ = labels != others
    ties = differ & (expected[rows, labels] - expected[rows, others] <= bound)
    worst = int(differences.argmax())  # the first NaN, if there is one
    if not np.isfinite(differences[worst]):
        raise UserError(
            f"{name}: expected probabilities that are numbers, received NaN for {images[worst]}: a file is damaged. "
            f"`python -m stages check --data` finds it."
        )
    if differences[worst] > bound:
        raise UserError(
            f"{name}: expected probabilities within {bound:g} of those that evaluate measured, received a "
            f"difference of {differences[worst]:.2g} for {images[worst]}. "
            f"Leave {name} out of export.formats, or raise export.max_difference."
        )
    if (differ & ~ties).any():
        row = int(np.flatnonzero(differ & ~ties)[0])
        raise UserError(
            f"{name}: expected the labels that evaluate measured, received another one for {images[row]}. "
            f"Leave {name} out of export.formats."
        )
    # Two digits: the others depend on the processor.
    return Parity(float(f"{differences[worst]:.2g}"), float(1 - differ.mean()), int(ties.sum()))


def is_uninformative(expected: np.ndarray, bound: float) -> bool:
    """Whether the network gives all images the same probabilities, so that agreement shows nothing.

    A network with random weights does: its activations vanish layer by layer, and every format gives 1/classes.

    Args:
        expected: as measured, (n, classes).
        bound: the largest difference allowed.
    """
    return len(expected) > 1 and float(np.ptp(expected, axis=0).max()) <= bound
