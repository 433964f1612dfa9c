"""Count the images of each class: print what was found, and write a table of the splits."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from stages.base.files import write_csv
from stages.base.splits import SPLITS, Part
from stages.base.terminal import say
from stages.sources.data_set import Sample
from stages.splitting.examine import ExaminedImage

SHOWN = 10  # classes that are printed


def say_splits(
    source: Path,
    found: Sequence[Sample],
    classes: Sequence[str],
    splits: Mapping[str, Sequence[ExaminedImage]],
    given: Collection[Part],
    unused: int,
) -> None:
    """Print the number of images in each split and in the first classes.

    Args:
        source: the data set.
        found: all images of these classes.
        classes: their names.
        splits: the images of each split.
        given: the parts that the data set is divided into, if any.
        unused: the number of usable images that are in no split.
    """
    counts = ", ".join(f"{name} {len(splits[name])}" for name in SPLITS)
    parts = " and ".join(name for name in SPLITS[1:] if name in given)
    as_given = f"; {parts} as given" + (f"; {unused} not used" if unused else "") if parts else ""
    say(f"{source}: {len(classes)} classes, {len(found)} images: {counts}{as_given}")
    held = Counter(sample.class_name for sample in found)
    more = f", ... and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    say(f"classes: {', '.join(f'{name} {held[name]}' for name in classes[:SHOWN])}{more}")


def write_counts(path: Path, splits: dict[str, list[ExaminedImage]], classes: list[str]) -> None:
    """Write a row for each class: its name, and the number of its images in each split."""
    counts = {split: Counter(image.sample.class_name for image in members) for split, members in splits.items()}
    rows = [(name, *(count[name] for count in counts.values())) for name in classes]
    write_csv(path, [("class", *counts), *rows])
