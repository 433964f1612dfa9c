"""Keep images together that belong together: those of a group (a patient, an object, a burst) never cross splits."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from stages.base.errors import UserError
from stages.base.splits import SPLITS, Part
from stages.base.terminal import say
from stages.sources.data_set import LeftOut
from stages.splitting.amounts import Amount, group_by_part
from stages.splitting.assign import assign, drop_duplicates, find_misplaced, rank
from stages.splitting.examine import ExaminedImage
from stages.splitting.lock_table import NO_LOCKS, LockTable

GroupRule = str | dict[str, str]  # "none", "folder", {"column": NAME}, or {"regex": PATTERN}


@dataclass(frozen=True)
class Grouping:
    """Which images belong together.

    Attributes:
        rule: see ``name_groups``.
        near: what becomes of near duplicates: keep, group, or drop.
        pairs: their places among the images.
    """

    rule: GroupRule
    near: str
    pairs: Sequence[tuple[int, int]]


def divide(
    images: Sequence[ExaminedImage],
    together: Grouping,
    classes: Sequence[str],
    amounts: Mapping[str, Amount],
    given: Collection[Part],
    seed: int,
    left_out: Sequence[LeftOut],
    locked: LockTable = NO_LOCKS,
) -> tuple[dict[str, list[ExaminedImage]], list[LeftOut]]:
    """Assign the images to the splits: each by itself, or those that belong together as one; see ``assign``.

    Returns:
        The images of each split; and those left out, for their near duplicates or their groups.
    """
    excluded: list[LeftOut] = []
    if together.near == "drop":
        pictures = join_groups(name_groups(images, "none"), together.pairs)
        images, excluded = drop_duplicates(images, pictures, "near duplicate", locked)
    if together.rule == "none" and together.near != "group":
        splits = assign(images, classes, amounts, given, seed, [*left_out, *excluded], locked)
        return splits, excluded + find_misplaced(images, given, locked)
    groups = name_groups(images, together.rule)
    if together.near == "group":
        groups = join_groups(groups, together.pairs)
    splits, crossing = assign_groups(images, groups, classes, amounts, given, seed, locked)
    say("split.train, val and test are approximate: whole groups are drawn")
    return splits, excluded + crossing


def name_groups(images: Sequence[ExaminedImage], rule: GroupRule) -> list[str]:
    """Return the name of each image's group.

    Args:
        images: whose paths name their groups.
        rule: none, each image is a group; folder, the folders that an image lies in below its class folder; a column
            of the table, what it says; a regex, its first bracket (or all of it) where it is found in the path.

    Raises:
        UserError: the regex is not found in a path.
    """
    if isinstance(rule, dict) and "column" in rule:
        return [image.sample.group for image in images]
    if isinstance(rule, dict):
        return [_match(rule["regex"], image.sample.source) for image in images]
    if rule == "none":
        return [image.sample.source for image in images]
    return [_folder(image) for image in images]


def _match(pattern: str, source: str) -> str:
    found = re.search(pattern, source)
    if not found:
        raise UserError(f"split.group.regex: {pattern} is not found in {source}. Every image must have a group.")
    return found[1] if found.re.groups else found[0]


def _folder(image: ExaminedImage) -> str:
    parts = PurePosixPath(image.sample.source).parts
    below = parts[parts.index(image.sample.class_name) + 1 : -1] if image.sample.class_name in parts else ()
    return "/".join(below) if below else image.sample.source


def join_groups(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Return the group of each image where those of each pair of places are one: named by its least name."""
    parent = {name: name for name in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for first, second in pairs:
        low, high = sorted((root(groups[first]), root(groups[second])))
        parent[high] = low
    return [root(name) for name in groups]


def assign_groups(
    images: Sequence[ExaminedImage],
    groups: Sequence[str],
    classes: Sequence[str],
    amounts: Mapping[str, Amount],
    given: Collection[Part],
    seed: int,
    locked: LockTable = NO_LOCKS,
) -> tuple[dict[str, list[ExaminedImage]], list[LeftOut]]:
    """Assign whole groups to train, val and test, each by a hash of its name, so that new images move none.

    Each split's share of the images is as asked; a count is taken as a share of what there is. So the numbers of images
    are near those asked for, not equal to them.

    A group with an image that is locked as a test image is tested with; one with images that were trained on never is.

    Args:
        groups: of each image.
        images: see ``assign`` for this and the others.

    Returns:
        The images of each split, the classes mixed; and those left out, for others of their group are tested with, or
        were trained on and these lie in a given test part.

    Raises:
        UserError: a class has no image to train on or none to test with.
    """
    splits: dict[str, list[tuple[ExaminedImage, str]]] = {split: [] for split in SPLITS}
    held = {group for image, group in zip(images, groups, strict=True) if locked.is_test(image.pixels)}
    learned = {group for image, group in zip(images, groups, strict=True) if locked.is_other(image.pixels)}
    left_out = []

    def leave_out(image: ExaminedImage, group: str, why: str) -> None:
        reason = f"of the group {group}, which {why}"
        left_out.append(LeftOut(image.sample.source, image.sample.class_name, reason, "grouped"))

    for side, asked in group_by_part(amounts, given).items():
        pool = [pair for pair in zip(images, groups, strict=True) if pair[0].sample.part == side]
        shares = _shares(asked, len(pool), len(classes))
        for image, group in pool:
            place = int.from_bytes(rank(seed, group)[:8], "big") / 2**64
            split = _find(place, shares)
            if "test" in shares and group in held:
                split = "train" if locked.is_other(image.pixels) else "test"  # those are left out below
            elif split == "test" and group in learned:
                split = _instead_of_test(place, shares)
                if not split:
                    leave_out(image, group, "was trained on")
            if split:
                splits[split].append((image, group))
    tested = held | {group for _, group in splits["test"]}
    for split in ("train", "val"):
        for image, group in splits[split]:
            if group in tested:
                leave_out(image, group, "has test images")
    splits = {
        split: [(image, group) for image, group in members if split == "test" or group not in tested]
        for split, members in splits.items()
    }
    for split in ("train", "test"):
        if missing := set(classes) - {image.sample.class_name for image, _ in splits[split]}:
            raise UserError(
                f"class '{min(missing)}': found no group for {split} among its images. Expected several groups in each "
                f"class: set split.group: none, take another split.seed, or ask for larger shares."
            )
    ordered = {
        split: sorted((image for image, _ in members), key=lambda image: rank(seed, image.pixels))
        for split, members in splits.items()
    }
    return ordered, sorted(left_out, key=lambda entry: entry.source)


def _find(place: float, shares: Mapping[str, float]) -> str | None:
    """Return the split whose share a place between 0 and 1 lies in; None behind all of them."""
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return None


def _instead_of_test(place: float, shares: Mapping[str, float]) -> str | None:
    """Return the other split for a place in the share of test, which lies last; None where there is no other."""
    others = {split: share for split, share in shares.items() if split != "test"}
    before = sum(others.values())
    return _find((place - before) / shares["test"] * before, others)


def _shares(asked: Mapping[str, Amount], found: int, classes: int) -> dict[str, float]:
    """Return the share of a pool's images that each split takes."""
    shares = {
        split: amount if isinstance(amount, float) else int(amount) * classes / max(found, 1)
        for split, amount in asked.items()
        if amount != "rest"
    }
    rest = max(0.0, 1 - sum(shares.values()))
    return {split: shares.get(split, rest) for split in asked}
