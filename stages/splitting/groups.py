"""Keep groups of images, such as all images of a patient, an object or a burst, in one split."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from stages.base.errors import UserError
from stages.base.splits import SPLITS
from stages.base.terminal import say
from stages.sources.data_set import Reject
from stages.splitting.amounts import Amount, SplitPlan, group_by_part
from stages.splitting.examine import ExaminedImage
from stages.splitting.stratified import assign_images, drop_duplicates, find_misplaced, rank

GroupRule = str | dict[str, str]  # of split.group


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


def assign(
    images: Sequence[ExaminedImage], together: Grouping, plan: SplitPlan, left_out: Sequence[Reject]
) -> tuple[dict[str, list[ExaminedImage]], list[Reject]]:
    """Assign images to splits, one by one (see ``assign_images``) or in groups (see ``assign_groups``).

    Args:
        images: the available images, without duplicates.
        together: which images belong together.
        plan: what is asked of the splits.
        left_out: the unusable images, to be counted in messages.

    Returns:
        The images of each split, with their groups if they are in groups; and those left out because of near
        duplicates, groups or the lock table.
    """
    excluded: list[Reject] = []
    if together.near == "drop":
        pictures = join_groups(name_groups(images, "none"), together.pairs)
        images, excluded = drop_duplicates(images, pictures, "near duplicate", plan.locked)
    if together.rule == "none" and together.near != "group":
        splits = assign_images(images, plan, [*left_out, *excluded])
        return splits, excluded + find_misplaced(images, plan)
    groups = name_groups(images, together.rule)
    if together.near == "group":
        groups = join_groups(groups, together.pairs)
    grouped = zip(images, groups, strict=True)
    images = [replace(image, sample=replace(image.sample, group=group)) for image, group in grouped]
    splits, crossing = assign_groups(images, groups, plan)
    say("split.train, val and test are approximate, because groups stay together")
    return splits, excluded + crossing


def name_groups(images: Sequence[ExaminedImage], rule: GroupRule) -> list[str]:
    """Return the name of each image's group.

    Args:
        images: the images.
        rule: ``split.group``, as params.yaml explains it.

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
    folder = image.sample.given or image.sample.class_name  # a corrected label moves no file
    below = parts[parts.index(folder) + 1 : -1] if folder in parts else ()
    return "/".join(below) if below else image.sample.source


def join_groups(groups: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Merge the groups of each pair of images; a merged group has the smallest of their names.

    Args:
        groups: of each image.
        pairs: indices of images.

    Returns:
        The group of each image.
    """
    if not pairs:
        return list(groups)
    from scipy.cluster.hierarchy import DisjointSet  # here: it imports slowly, and most data sets do not need it

    joined = DisjointSet(groups)
    for first, second in pairs:
        joined.merge(groups[first], groups[second])
    name_of = {name: min(subset) for subset in joined.subsets() for name in subset}
    return [name_of[name] for name in groups]


def assign_groups(
    images: Sequence[ExaminedImage], groups: Sequence[str], plan: SplitPlan
) -> tuple[dict[str, list[ExaminedImage]], list[Reject]]:
    """Assign groups to train, val and test by a hash of their names, so that new images do not move others.

    Counts are converted to shares of the images, so the numbers of images are only close to those requested.

    A group with a locked test image goes to test; a group with images that were trained on never does. With a
    ``train_seed``, groups that are not in test are assigned to train and val anew.

    Args:
        images: the available images, without duplicates.
        groups: of each image.
        plan: what is asked of the splits.

    Returns:
        The images of each split, with mixed classes; and those left out because other images of their group are in
        test, or were trained on while they are in a given test part.

    Raises:
        UserError: a class has no training or no test image.
    """
    splits: dict[str, list[tuple[ExaminedImage, str]]] = {split: [] for split in SPLITS}
    locked = plan.locked
    held = {group for image, group in zip(images, groups, strict=True) if locked.is_test(image.pixels)}
    learned = {group for image, group in zip(images, groups, strict=True) if locked.is_other(image.pixels)}
    left_out = []

    def leave_out(image: ExaminedImage, group: str, why: str) -> None:
        reason = f"group {group} {why}"
        left_out.append(Reject(image.sample.source, image.sample.class_name, reason, "grouped"))

    for side, asked in group_by_part(plan.amounts, plan.given).items():
        pool = [pair for pair in zip(images, groups, strict=True) if pair[0].sample.part == side]
        shares = _shares(asked, len(pool), len(plan.classes))
        for image, group in pool:
            split = _draw(plan, group, shares)
            if "test" in shares and group in held:
                split = "train" if locked.is_other(image.pixels) else "test"  # the former are left out below
            elif split == "test" and group in learned:
                split = _pick_other_split(_place(plan.seed, group), shares)
                if not split:
                    leave_out(image, group, "was trained on before")
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
        if missing := set(plan.classes) - {image.sample.class_name for image, _ in splits[split]}:
            raise UserError(
                f"class '{min(missing)}': found no group for {split} among its images. Expected several groups in each "
                f"class: set split.group: none, take another split.seed, or ask for larger shares."
            )
    ordered = {
        split: sorted((image for image, _ in members), key=lambda image: rank(plan.seed, image.pixels))
        for split, members in splits.items()
    }
    return ordered, sorted(left_out, key=lambda entry: entry.source)


def _place(seed: int, group: str) -> float:
    """Return the place of a group between 0 and 1."""
    return int.from_bytes(rank(seed, group)[:8], "big") / 2**64


def _without_test(shares: Mapping[str, float]) -> dict[str, float]:
    return {split: share for split, share in shares.items() if split != "test"}


def _draw(plan: SplitPlan, group: str, shares: Mapping[str, float]) -> str | None:
    """Return the split of a group if nothing is locked; None if no split takes it."""
    split = _find(_place(plan.seed, group), shares)
    if split == "test" or plan.train_seed is None:
        return split
    return _find(_place(plan.train_seed, group) * (1 - shares.get("test", 0)), _without_test(shares))


def _find(place: float, shares: Mapping[str, float]) -> str | None:
    """Return the split whose share contains a place between 0 and 1; None beyond all shares."""
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return None


def _pick_other_split(place: float, shares: Mapping[str, float]) -> str | None:
    """Map a place in the share of test, the last one, to one of the other splits; None if there are none."""
    others = _without_test(shares)
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
