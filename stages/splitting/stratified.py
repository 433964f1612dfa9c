"""Assign images to splits class by class: the requested numbers, no image twice, stable as the data set grows."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from stages.base.errors import UserError
from stages.base.splits import SPLITS, Part
from stages.base.terminal import say
from stages.sources.data_set import Kind, Reject, normalize_name
from stages.splitting.amounts import Amount, SplitPlan, count_images, group_by_part
from stages.splitting.examine import ExaminedImage
from stages.splitting.lock_table import NO_LOCKS, LockTable

_SAID = 10  # classes


def rank(seed: int, name: str) -> bytes:
    """Return the sort key that orders images (by their pixels' hash) or groups (by name) at random."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def select_classes(wanted: Sequence[str | int] | str, existing: Sequence[str]) -> list[str]:
    """Return the classes to learn, in the order of the network's outputs.

    Args:
        wanted: their names in order, or "all".
        existing: the classes of the data set.

    Raises:
        UserError: one does not exist, or there are fewer than two.
    """
    classes = list(existing) if isinstance(wanted, str) else [_resolve_name(name, existing) for name in wanted]
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


def _resolve_name(name: str | int, existing: Sequence[str]) -> str:
    """Return the class name that a YAML value stands for: YAML reads 001, 0x1 and 1 as the same number."""
    if isinstance(name, str):
        return normalize_name(name)
    alike = [known for known in existing if known != str(name) and _number(known) == name]
    if alike:
        raise UserError(
            f"split.classes: YAML reads {alike[0]} as the number {name}: write '{alike[0]}'"
            + (f", or '{name}' for the class of that name." if str(name) in existing else ".")
        )
    return str(name)


def _number(name: str) -> int | None:
    """Return the integer that YAML reads a name as; None if it reads a string."""
    digits = name.lower().replace("_", "").removeprefix("+")
    for base, begin in ((16, "0x"), (8, "0o"), (10, "")):
        if digits.startswith(begin) and digits.removeprefix(begin).isascii():
            with suppress(ValueError):
                return int(digits.removeprefix(begin), base)
    return None


def drop_duplicates(
    images: Sequence[ExaminedImage], pictures: Sequence[str], what: str = "duplicate", locked: LockTable = NO_LOCKS
) -> tuple[list[ExaminedImage], list[Reject]]:
    """Use one of several images of the same picture: a locked one, preferably for test, or the first by its path.

    If the picture is in several classes, nobody knows which is right, and all of its images are left out.

    Args:
        images: all images.
        pictures: for each image a text that identifies the picture.
        what: what the reason calls the others.
        locked: the lock table.

    Returns:
        The images to use, and those left out, each with the reason.
    """

    def order(image: ExaminedImage) -> tuple[bool, bool, str]:
        return not locked.is_test(image.pixels), not locked.is_other(image.pixels), image.sample.source

    same: dict[str, list[ExaminedImage]] = {}
    for image, picture in zip(images, pictures, strict=True):
        same.setdefault(picture, []).append(image)
    unique, left_out = [], []
    for group in same.values():
        first, *others = sorted(group, key=order)
        classes = {image.sample.class_name for image in group}
        if len(classes) == 1:
            unique.append(first)
            left_out += [_reject(image, f"{what} of {first.sample.source}") for image in others]
        else:
            for image in group:
                elsewhere = sorted(classes - {image.sample.class_name})
                left_out.append(_reject(image, f"also in class {_names(elsewhere)}"))
    return unique, sorted(left_out, key=lambda entry: entry.source)


def assign_images(
    images: Iterable[ExaminedImage], plan: SplitPlan, left_out: Iterable[Reject] = ()
) -> dict[str, list[ExaminedImage]]:
    """Assign images to train, val and test.

    The images of each class are sorted by a hash of the seed and their pixels. Train takes its amount from the front,
    then val, then test. A new image therefore changes no other class, and in its own class only images at the borders
    between splits move. If the data set is divided, each split takes images from the part of the same name, or from the
    training part if there is no such part. With a ``train_seed``, train and val draw anew from what test leaves.

    Locked test images all go to test, before others and whatever the amount. Images that were trained on never do.

    Args:
        images: the available images, without duplicates.
        plan: what is asked of the splits.
        left_out: the unusable images, to be counted in messages.

    Returns:
        The images of each split, with mixed classes.

    Raises:
        UserError: a class has too few images for the amounts.
    """

    def order(image: ExaminedImage) -> bytes:
        return rank(plan.seed, image.pixels)

    by_class: dict[tuple[str, Part | None], list[ExaminedImage]] = {}
    for image in sorted(images, key=order):
        by_class.setdefault((image.sample.class_name, image.sample.part), []).append(image)
    lost: dict[str, Counter[str]] = {name: Counter() for name in plan.classes}
    for entry in left_out:
        lost.setdefault(entry.class_name, Counter())[entry.kind] += 1
    splits: dict[str, list[ExaminedImage]] = {split: [] for split in SPLITS}
    others: list[str] = []
    for side, asked in group_by_part(plan.amounts, plan.given).items():
        for name in plan.classes:
            pool = by_class.get((name, side), [])
            if "test" not in asked:
                pool = [image for image in pool if not plan.locked.is_test(image.pixels)]
            counts = count_images(asked, len(pool), name, side, lost[name])
            if wanted := counts.get("test"):
                pool, counts = _keep_locked(pool, counts, asked, name, side, lost[name], plan.locked)
                if counts["test"] != wanted:
                    others.append(_describe_count(name, counts["test"], wanted))
            if plan.train_seed is not None:
                pool = _redraw(pool, counts, plan.train_seed)
            start = 0
            for split, count in counts.items():
                splits[split] += pool[start : start + count]
                start += count
    for line in [*others[:_SAID], *([f"... and {len(others) - _SAID} more classes"] if len(others) > _SAID else [])]:
        say(line)
    return {split: sorted(members, key=order) for split, members in splits.items()}


def _redraw(pool: list[ExaminedImage], counts: Mapping[str, int], seed: int) -> list[ExaminedImage]:
    """Reorder the images of a class that are not for test, so that another seed draws those of the other splits.

    Args:
        pool: the images, in the order in which the splits take them.
        counts: the number for each split.
        seed: of the draw.
    """
    start = sum(count for split, count in counts.items() if split != "test")
    end = start + counts.get("test", 0)
    others = sorted([*pool[:start], *pool[end:]], key=lambda image: rank(seed, image.pixels))
    return [*others[:start], *pool[start:end], *others[start:]]


def find_misplaced(images: Iterable[ExaminedImage], plan: SplitPlan) -> list[Reject]:
    """Return the images that ``assign_images`` leaves out because the lock table forbids the use of their part.

    Args:
        images: all images.
        plan: what is asked of the splits.
    """
    found = []
    test_part = "test" if "test" in plan.given else "train"
    for image in images if plan.given else ():
        part, pixels = image.sample.part, image.pixels
        if part == test_part == "test" and plan.locked.is_other(pixels):
            found.append(_reject(image, "in the test part, but was trained on before", "locked"))
        elif part != test_part and plan.locked.is_test(pixels):
            found.append(_reject(image, f"in the {part} part, but was a test image before", "locked"))
    return found


def _keep_locked(
    pool: list[ExaminedImage],
    counts: dict[str, int],
    asked: Mapping[str, Amount],
    name: str,
    side: Part | None,
    lost: Counter[str],
    locked: LockTable,
) -> tuple[list[ExaminedImage], dict[str, int]]:
    """Reorder the images of a class so that locked images go to their splits.

    Args:
        pool: the images, in the seed's order.
        counts: the number for each split if nothing were locked.
        asked: see ``count_images``.
        name: see ``count_images``.
        side: see ``count_images``.
        lost: see ``count_images``.
        locked: the lock table.

    Returns:
        The images in the order in which the splits take them, and the number for each split.
    """
    tested = [image for image in pool if locked.is_test(image.pixels)]
    new = [image for image in pool if not locked.is_test(image.pixels) and not locked.is_other(image.pixels)]
    wanted, unused = counts["test"], len(pool) - sum(counts.values())
    needed = min(max(wanted - len(tested), 0), len(new))
    end = max(len(new) - unused, needed)  # without locks, test takes the images after train and val
    tested += new[end - needed : end]
    hashes = {image.pixels for image in tested}
    rest = [image for image in pool if image.pixels not in hashes]
    others = {split: count for split, count in counts.items() if split != "test"}
    if not tested:
        raise UserError(
            f"class '{name}': found no test image: according to the lock table, all {len(pool)} were trained on. "
            "Add images, or leave the class out of split.classes."
        )
    if len(tested) != wanted:
        # The shares of the others scale with the number of images that test leaves.
        whole = len(pool) * len(rest) / max(len(pool) - wanted, 1)
        left = {split: amount for split, amount in asked.items() if split != "test"}
        others = count_images(left, len(rest), name, side, lost + Counter(tested=len(tested)), whole)
    end = sum(others.values())
    return [*rest[:end], *tested, *rest[end:]], {**others, "test": len(tested)}


def _reject(image: ExaminedImage, reason: str, kind: Kind = "duplicate") -> Reject:
    return Reject(image.sample.source, image.sample.class_name, reason, kind)


def _describe_count(name: str, found: int, wanted: int) -> str:
    why = "those that are locked stay" if found > wanted else "the others were trained on"
    return f"class {name}: {found} test images instead of {wanted}: {why}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
