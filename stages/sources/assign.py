"""Decide which image goes into which split: as many as asked for, none into two, and stable when the data set grows."""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from stages.base.stage import UserError
from stages.sources.examine import Examined
from stages.sources.sample import SPLITS, LeftOut, Part, nfc

Amount = int | float | str  # a count, a share, or "rest"
EPSILON = 1e-9  # 0.29 * 100 is 28.999...: shares of whole numbers are whole again after adding this


def rank(seed: int, name: str) -> bytes:
    """Return the place of an image or a group in the order that a seed gives, by its pixels' hash or its name."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def select_classes(wanted: Sequence[str | int] | str, existing: Sequence[str]) -> list[str]:
    """Return the classes to learn, in the order of the network's outputs: as listed, or all of them as they come.

    Raises:
        UserError: one does not exist, or there are fewer than two.
    """
    classes = list(existing) if isinstance(wanted, str) else [_as_written(name, existing) for name in wanted]
    known = set(existing)
    missing = [name for name in classes if name not in known]
    if missing:
        raise UserError(f"split.classes: no class {_names(missing)} in the data set. It has: {_names(existing)}.")
    if len(classes) < 2:
        raise UserError(
            f"split.source: expected two or more classes, found {len(classes)}: {_names(existing)}. "
            "A class is a folder of images (CLASS/*.jpg)."
        )
    return classes


def _as_written(name: str | int, existing: Sequence[str]) -> str:
    """Return a class name as it was meant: YAML reads 001, 0x1 and 1 alike as the number 1."""
    if isinstance(name, str):
        return nfc(name)
    alike = [known for known in existing if known != str(name) and _number(known) == name]
    if alike:
        raise UserError(
            f"split.classes: YAML reads {alike[0]} as the number {name}: write '{alike[0]}'"
            + (f", or '{name}' for the class of that name." if str(name) in existing else ".")
        )
    return str(name)


def _number(name: str) -> int | None:
    """The whole number that YAML reads a name as, if it does."""
    digits = name.lower().replace("_", "").removeprefix("+")
    for base, begin in ((16, "0x"), (8, "0o"), (10, "")):
        if digits.startswith(begin) and digits.removeprefix(begin).isascii():
            with suppress(ValueError):
                return int(digits.removeprefix(begin), base)
    return None


def without_duplicates(
    images: Sequence[Examined], pictures: Sequence[str], what: str = "duplicate"
) -> tuple[list[Examined], list[LeftOut]]:
    """Keep one of several images of the same picture, the first by its source path.

    Where the same picture is filed under different classes nobody knows which is right, and all of them are left out.

    Args:
        pictures: what each image shows: the same text for the same picture.
        what: to call the others.

    Returns:
        The images kept, and those left out, each with the reason.
    """
    same: dict[str, list[Examined]] = {}
    for image, picture in zip(images, pictures, strict=True):
        same.setdefault(picture, []).append(image)
    kept, left_out = [], []
    for group in same.values():
        first, *others = sorted(group, key=lambda image: image.sample.source)
        classes = {image.sample.class_name for image in group}
        if len(classes) == 1:
            kept.append(first)
            left_out += [_leave_out(image, f"{what} of {first.sample.source}") for image in others]
        else:
            for image in group:
                elsewhere = sorted(classes - {image.sample.class_name})
                left_out.append(_leave_out(image, f"also in class {_names(elsewhere)}"))
    return kept, sorted(left_out, key=lambda entry: entry.source)


def check_amounts(amounts: Mapping[str, Amount], given: Collection[Part]) -> None:
    """Check what can be checked before any image is opened; see ``assign``.

    Raises:
        UserError: more than one split takes the rest, shares add up to more than 1, or train or test stays empty.
    """
    for side, asked in pools(amounts, given).items():
        keys = " and ".join(f"split.{split}" for split in asked)
        of = f" of the given {side} images" if side else ""
        if list(asked.values()).count("rest") > 1:
            raise UserError(f"{keys}: only one of them may be 'rest'{of}; received {_amounts(asked)}.")
        if math.fsum(amount for amount in asked.values() if isinstance(amount, float)) > 1 + EPSILON:
            raise UserError(f"{keys}: expected shares{of} that add up to at most 1; received {_amounts(asked)}.")
    for split in ("train", "test"):
        if amounts[split] == 0:
            raise UserError(f"split.{split}: expected at least one image per class; received 0.")


def assign(
    images: Iterable[Examined],
    classes: Sequence[str],
    amounts: Mapping[str, Amount],
    given: Collection[Part],
    seed: int,
    left_out: Iterable[LeftOut] = (),
) -> dict[str, list[Examined]]:
    """Assign images to train, val and test.

    Each class by itself is put in an order given by the seed and its images' pixels alone; train takes its amount from
    the front, then val, then test. So an image more changes no other class, and in its own class only those images
    change splits that lie where one split ends and the next begins. Where the data set comes divided, each split takes
    from the part of its name, or from the training part where there is no such part.

    Args:
        images: what there is to choose from, without duplicates.
        classes: all classes, also those without any image.
        amounts: for "train", "val" and "test" a count of images per class, a share of the class (of what it has in
            that part, where the data set comes divided), or "rest".
        given: the parts that the data set comes divided into; none where it is not.
        seed: another number gives another order.
        left_out: what cannot be chosen from, to be counted in messages.

    Returns:
        The images of each split, the classes mixed.

    Raises:
        UserError: a class has too few images for the amounts.
    """

    def order(image: Examined) -> bytes:
        return rank(seed, image.pixels)

    by_class: dict[tuple[str, Part | None], list[Examined]] = {}
    for image in sorted(images, key=order):
        by_class.setdefault((image.sample.class_name, image.sample.part), []).append(image)
    lost: dict[str, Counter[str]] = {name: Counter() for name in classes}
    for entry in left_out:
        lost.setdefault(entry.class_name, Counter())[entry.kind] += 1
    splits: dict[str, list[Examined]] = {split: [] for split in SPLITS}
    for side, asked in pools(amounts, given).items():
        for name in classes:
            pool = by_class.get((name, side), [])
            start = 0
            for split, count in _counts(asked, len(pool), name, side, lost[name]).items():
                splits[split] += pool[start : start + count]
                start += count
    return {split: sorted(members, key=order) for split, members in splits.items()}


def pools(amounts: Mapping[str, Amount], given: Collection[Part]) -> dict[Part | None, dict[str, Amount]]:
    """Which splits share the images of which part."""
    if not given:
        return {None: {split: amounts[split] for split in SPLITS}}
    pools: dict[Part | None, dict[str, Amount]] = {}
    for split in SPLITS:
        pools.setdefault(split if split in given else "train", {})[split] = amounts[split]
    return pools


def _counts(
    asked: Mapping[str, Amount], found: int, name: str, side: Part | None, lost: Mapping[str, int]
) -> dict[str, int]:
    """How many of the ``found`` images of a class each split takes."""
    counts: dict[str, int] = {}
    share = 0.0
    for split, amount in asked.items():
        if isinstance(amount, int):
            counts[split] = amount
        elif isinstance(amount, float):
            # Rounded down together, so that shares that add up to 1 use every image.
            before = math.floor(share * found + EPSILON)
            share += amount
            counts[split] = math.floor(share * found + EPSILON) - before
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
        kinds = {"exact duplicates": lost["duplicate"], "unreadable": lost["unreadable"]}
        others = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        more = f" (left out: {others})" if others else ""
        raise UserError(
            f"class '{name}': found {found} usable images{of}{more}, needed {needed} or more for {_amounts(asked)} "
            "(train and test take at least one). Add images, ask for fewer, or leave the class out of split.classes."
        )
    return {split: counts[split] for split in asked}


def _leave_out(image: Examined, reason: str) -> LeftOut:
    return LeftOut(image.sample.source, image.sample.class_name, reason, "duplicate")


def _amounts(asked: Mapping[str, Amount]) -> str:
    return ", ".join(f"{split}: {amount}" for split, amount in asked.items())


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
