"""Keep groups of images, such as all images of a patient, an object or a burst, in one split."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from stages.base.errors import UserError
from stages.base.splits import SPLITS, Part
from stages.base.terminal import say
from stages.sources.data_set import Reject
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
        near: what to do with near duplicates: keep, group, or drop.
        pairs: the indices of near duplicates among the images.
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
    left_out: Sequence[Reject],
    locked: LockTable = NO_LOCKS,
) -> tuple[dict[str, list[ExaminedImage]], list[Reject]]:
    """Assign images to splits, one by one (see ``assign``) or in groups (see ``assign_groups``).

    Args:
        images: see ``assign``.
        together: which images belong together.
        classes: see ``assign``.
        amounts: see ``assign``.
        given: see ``assign``.
        seed: see ``assign``.
        left_out: see ``assign``.
        locked: see ``assign``.

    Returns:
        The images of each split; and those left out because of near duplicates, groups or the lock table.
    """
    excluded: list[Reject] = []
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
    say("split.train, val and test are approximate, because groups stay together")
    return splits, excluded + crossing


def name_groups(images: Sequence[ExaminedImage], rule: GroupRule) -> list[str]:
    """Return the name of each image's group.

    Args:
        images: the images.
        rule: none: each image is a group; folder: its folders below the class folder; a column: its cell in the table;
            a regex: its first group (or the whole match) in the path.

    Raises:
        UserError: the regex does not match a path.
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
    """Merge the groups of each pair of images; a merged group has the smallest of their names.

    Args:
        groups: of each image.
        pairs: indices of images.

    Returns:
        The group of each image.
    """
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
) -> tuple[dict[str, list[ExaminedImage]], list[Reject]]:
    """Assign groups to train, val and test by a hash of their names, so that new images do not move others.

    Counts are converted to shares of the images, so the numbers of images are only close to those requested.

    A group with a locked test image goes to test; a group with images that were trained on never does.

    Args:
        images: see ``assign``.
        groups: of each image.
        classes: see ``assign``.
        amounts: see ``assign``.
        given: see ``assign``.
        seed: see ``assign``.
        locked: see ``assign``.

    Returns:
        The images of each split, with mixed classes; and those left out because other images of their group are in
        test, or were trained on while they are in a given test part.

    Raises:
        UserError: a class has no training or no test image.
    """
    splits: dict[str, list[tuple[ExaminedImage, str]]] = {split: [] for split in SPLITS}
    held = {group for image, group in zip(images, groups, strict=True) if locked.is_test(image.pixels)}
    learned = {group for image, group in zip(images, groups, strict=True) if locked.is_other(image.pixels)}
    left_out = []

    def leave_out(image: ExaminedImage, group: str, why: str) -> None:
        reason = f"of the group {group}, which {why}"
        left_out.append(Reject(image.sample.source, image.sample.class_name, reason, "grouped"))

    for side, asked in group_by_part(amounts, given).items():
        pool = [pair for pair in zip(images, groups, strict=True) if pair[0].sample.part == side]
        shares = _shares(asked, len(pool), len(classes))
        for image, group in pool:
            place = int.from_bytes(rank(seed, group)[:8], "big") / 2**64
            split = _find(place, shares)
            if "test" in shares and group in held:
                split = "train" if locked.is_other(image.pixels) else "test"  # the former are left out below
            elif split == "test" and group in learned:
                split = _pick_other_split(place, shares)
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
    """Return the split whose share contains a place between 0 and 1; None beyond all shares."""
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return None


def _pick_other_split(place: float, shares: Mapping[str, float]) -> str | None:
    """Map a place in the share of test, the last one, to one of the other splits; None if there are none."""
    others = {split: share for split, share in shares.items() if split != "test"}
    before = sum(others.values())
    return _find((place - before) / shares["test"] * before, others)


def _shares(asked: Mapping[str, Amount], found: int, classes: int) -> dict[str, float]:
    """Return each split's share of a pool's images."""
    shares = {
        split: amount if isinstance(amount, float) else int(amount) * classes / max(found, 1)
        for split, amount in asked.items()
        if amount != "rest"
    }
    rest = max(0.0, 1 - sum(shares.values()))
    return {split: shares.get(split, rest) for split in asked}
