"""Assign the images of a data set to splits, and find the range of gray values to read them with."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.images.contract import Range
from stages.schema.split import Split
from stages.sources.data_set import Reject
from stages.sources.rejects import refuse_many
from stages.splitting.amounts import SplitPlan
from stages.splitting.examine import ExaminedImage, find_blank
from stages.splitting.gray_range import choose_range
from stages.splitting.groups import Grouping, assign
from stages.splitting.near_duplicates import find_near_duplicates


@dataclass(frozen=True)
class Assignment:
    """The splits of a data set.

    Attributes:
        splits: the images of each split.
        range: see ``stages.images.contract.Contract.range``.
        pairs: near duplicates, if they were requested.
        excluded: images left out because of near duplicates, groups or the lock table.
        unused: the number of images that no split asks for.
    """

    splits: dict[str, list[ExaminedImage]]
    range: Range | None
    pairs: list[tuple[ExaminedImage, ExaminedImage]]
    excluded: list[Reject]
    unused: int


def assign_splits(
    images: Sequence[ExaminedImage], readable: int, params: Split, plan: SplitPlan, left_out: list[Reject]
) -> Assignment:
    """Assign the images, and once more without those that prove blank when the range of their values is known.

    The range of images of more than 8 bits comes from the training images, and decides what is visible in all images.

    Args:
        images: the available images, without duplicates.
        readable: their number, including duplicates.
        params: the section of params.yaml.
        plan: what is asked of the splits.
        left_out: what is not used; it is extended, also if this fails.

    Raises:
        UserError: too many images cannot be used, or a class has too few.
    """
    while True:
        refuse_many(left_out, readable, params.max_rejects)
        pairs = find_near_duplicates([image.picture for image in images if image.picture])
        together = Grouping(params.group, params.near_duplicates, pairs)
        splits, excluded = assign(images, together, plan, left_out)
        values = choose_range(params.range, splits["train"])
        blank = find_blank(images, values, params.handwriting)
        if not blank:
            break
        left_out += blank
        readable -= len(blank)
        sources = {entry.source for entry in blank}
        images = [image for image in images if image.sample.source not in sources]
    left_out += excluded
    unused = len(images) - len(excluded) - sum(map(len, splits.values()))
    return Assignment(splits, values, [(images[one], images[other]) for one, other in pairs], excluded, unused)
