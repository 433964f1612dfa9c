"""What is asked of the splits, and how many images of a class each gets: from counts, shares and "rest"."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stages.base.errors import UserError
from stages.base.splits import SPLITS, Part
from stages.splitting.lock_table import NO_LOCKS, LockTable

Amount = int | float | str  # a count, a share, or "rest"
EPSILON = 1e-9  # 0.29 * 100 is 28.999...: added before rounding down


@dataclass(frozen=True)
class SplitPlan:
    """What is asked of the splits.

    Attributes:
        classes: all classes, including those without images.
        amounts: for "train", "val" and "test" a count of images per class, a share of the class (within the part, if
            the data set is divided), or "rest".
        given: the parts that the data set is divided into, if any.
        seed: of the order of the images.
        locked: the lock table.
        train_seed: draws train and val anew from the images that test leaves; None to keep the order of ``seed``.
    """

    classes: Sequence[str]
    amounts: Mapping[str, Amount]
    given: Collection[Part]
    seed: int
    locked: LockTable = NO_LOCKS
    train_seed: int | None = None


def check_amounts(amounts: Mapping[str, Amount], given: Collection[Part]) -> None:
    """Check the amounts before any image is opened; see ``SplitPlan``.

    Args:
        amounts: of each split.
        given: the parts that the data set is divided into.

    Raises:
        UserError: more than one split takes the rest, shares add up to more than 1, or train or test is empty.
    """
    for side, asked in group_by_part(amounts, given).items():
        keys = " and ".join(f"split.{split}" for split in asked)
        of = f" of the given {side} images" if side else ""
        if list(asked.values()).count("rest") > 1:
            raise UserError(f"{keys}: only one of them may be 'rest'{of}; received {_format_amounts(asked)}.")
        if math.fsum(amount for amount in asked.values() if isinstance(amount, float)) > 1 + EPSILON:
            raise UserError(f"{keys}: expected shares{of} that add up to at most 1; received {_format_amounts(asked)}.")
    for split in ("train", "test"):
        if amounts[split] == 0:
            raise UserError(f"split.{split}: expected at least one image per class; received 0.")


def group_by_part(amounts: Mapping[str, Amount], given: Collection[Part]) -> dict[Part | None, dict[str, Amount]]:
    """Return for each part the splits that share its images, with their amounts.

    Args:
        amounts: of each split.
        given: the parts that the data set is divided into; without any, all splits share the key None.
    """
    if not given:
        return {None: {split: amounts[split] for split in SPLITS}}
    pools: dict[Part | None, dict[str, Amount]] = {}
    for split in SPLITS:
        pools.setdefault(split if split in given else "train", {})[split] = amounts[split]
    return pools


def count_images(
    asked: Mapping[str, Amount],
    found: int,
    name: str,
    side: Part | None,
    lost: Mapping[str, int],
    whole: float | None = None,
) -> dict[str, int]:
    """Return how many images of a class each split gets.

    >>> count_images({"train": 0.6, "val": 0.2, "test": "rest"}, 11, "cat", None, {})
    {'train': 6, 'val': 2, 'test': 3}

    Args:
        asked: the amounts of the splits that share the images.
        found: the number of images.
        name: of the class.
        side: the part of the images, if the data set is divided.
        lost: the number of unusable images of each kind, for the message.
        whole: the number that shares refer to; by default ``found``.

    Raises:
        UserError: there are too few images.
    """
    counts: dict[str, int] = {}
    share = 0.0
    whole = found if whole is None else whole
    for split, amount in asked.items():
        if isinstance(amount, int):
            counts[split] = amount
        elif isinstance(amount, float):
            # Round cumulative shares, so that shares that add up to 1 use every image.
            before = math.floor(share * whole + EPSILON)
            share += amount
            counts[split] = math.floor(share * whole + EPSILON) - before
        else:
            counts[split] = 0
    rest = found - sum(counts.values())
    for split, amount in asked.items():
        if amount == "rest":
            counts[split] = max(rest, 0)
    empty = [split for split in ("train", "test") if counts.get(split) == 0]
    if rest < 0 or empty:
        needed = sum(counts.values()) + len(empty)
        of = f" in the given {side} part" if side else ""
        kinds = {"duplicate": "exact duplicates", "unreadable": "unreadable", "tested": "test images"}
        others = ", ".join(f"{lost[kind]} {words}" for kind, words in kinds.items() if lost[kind])
        more = f" (left out: {others})" if others else ""
        raise UserError(
            f"class '{name}': found {found} usable images{of}{more}, needed {needed} or more for "
            f"{_format_amounts(asked)} (train and test take at least one). Add images, ask for fewer, or leave the "
            "class out of split.classes."
        )
    return {split: counts[split] for split in asked}


def _format_amounts(asked: Mapping[str, Amount]) -> str:
    return ", ".join(f"{split}: {amount}" for split, amount in asked.items())
