"""Count the images of each class: in words as they were found, in a table as they were split."""

import csv
from collections import Counter
from pathlib import Path

from stages.base.files import escape
from stages.base.stage import say
from stages.sources.examine import Examined
from stages.sources.sample import Sample

SHOWN = 10  # classes that are printed


def say_found(samples: list[Sample], classes: list[str]) -> None:
    """Print the classes and how many images each has: the first ones, where there are many."""
    counts = Counter(sample.class_name for sample in samples)
    more = f", ... and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    say(f"classes: {', '.join(f'{name} {counts[name]}' for name in classes[:SHOWN])}{more}")


def write_counts(path: Path, splits: dict[str, list[Examined]], classes: list[str]) -> None:
    """Write one row a class: its name, and how many of its images each split holds."""
    counts = {split: Counter(image.sample.class_name for image in members) for split, members in splits.items()}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", *counts])
        writer.writerows([escape(name), *(count[name] for count in counts.values())] for name in classes)
