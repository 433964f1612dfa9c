"""Split a data set into train, val and test: every image opened for good, no picture in two splits.

    python -m stages.split

Reads the data set that ``split.source`` names. Writes to data/split/ one packed Parquet file a split, rejects.csv (what
was left out, and why), summary.json and classes.csv (how many images there are, in all and of each class).
"""

import csv
import json
from collections import Counter
from pathlib import Path

from stages.base.files import escape
from stages.base.params import read_section
from stages.base.stage import UserError, progress, say, stage, whole
from stages.images import packed
from stages.schema.split import Split
from stages.sources.assign import SPLITS, assign, check_amounts, select_classes, without_duplicates
from stages.sources.examine import Examined, examine
from stages.sources.rejects import listed, refuse_many, say_left_out, write_left_out
from stages.sources.sample import LeftOut, Sample
from stages.sources.samples import read_set

PARAMS = Path("params.yaml")
FETCHED = Path("data/fetch")
OWN = Path("data/own")
SPLIT = Path("data/split")

REJECTED = SPLIT.with_name(".rejects-split.csv")  # of a run that failed, which leaves no outputs

SHOWN = 10  # classes that are printed


@stage("split")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "split", Split)
    source = find(Path(params.source))
    data_set = read_set(source, params.parts)
    classes = select_classes(params.classes, data_set.classes)
    known = set(classes)
    chosen = [sample for sample in data_set.samples if sample.class_name in known]
    amounts = {"train": params.train, "val": params.val, "test": params.test}
    given = {sample.part for sample in data_set.samples if sample.part}
    check_amounts(amounts, given)

    results = list(progress(examine(chosen), "opening images", len(chosen)))
    rejects = [result for result in results if isinstance(result, LeftOut)] + data_set.left_out
    images, duplicates = without_duplicates(result for result in results if isinstance(result, Examined))
    left_out = [*rejects, *duplicates]
    with listed(REJECTED, left_out):
        refuse_many(left_out, len(images) + len(duplicates), params.max_rejects)
        splits = assign(images, classes, amounts, given, params.seed, left_out)

    reading = {"form": params.form, "polarity": params.polarity, "fit": params.fit}
    with whole(SPLIT) as folder:
        for name, members in splits.items():
            # Each file is read again when its turn comes, so that memory holds no more than one group of rows.
            rows = (packed.Row(i.sample.source, i.sample.class_name, i.sample.data, i.width, i.height) for i in members)
            packed.write(folder / f"{name}.parquet", progress(rows, f"writing {name}", len(members)), classes, reading)
        write_left_out(folder / "rejects.csv", left_out)
        total = {name: len(members) for name, members in splits.items()}
        unused = len(images) - sum(total.values())
        summary = {"images": total, "unused": unused, "rejects": len(rejects), "duplicates": len(duplicates)}
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        write_counts(folder / "classes.csv", splits, classes)

    counts = ", ".join(f"{name} {len(splits[name])}" for name in SPLITS)
    parts = " and ".join(name for name in SPLITS[1:] if name in given)
    say(f"{source}: {len(classes)} classes, {len(results)} images: {counts}{f'; {parts} as given' if parts else ''}")
    say_found(chosen, classes)
    for part, path in data_set.parts.items():
        say(f"{part} part: {path}")
    say_left_out(left_out, SPLIT / "rejects.csv")


def say_found(samples: list[Sample], classes: list[str]) -> None:
    """Print the classes and how many images each has: the first ones, where there are many."""
    counts = Counter(sample.class_name for sample in samples)
    more = f", ... and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    say(f"classes: {', '.join(f'{name} {counts[name]}' for name in classes[:SHOWN])}{more}")


def find(source: Path) -> Path:
    """Return the data set's folder or archive, or say how to get it."""
    if source.exists():
        return source
    missing = f"split.source: there is no {source}."
    if source.with_name(f"{source.name}.dvc").is_file():
        raise UserError(f"{missing} It is versioned with DVC: get it with `dvc pull {source}`.")
    if source.parent == FETCHED:
        raise UserError(f"{missing} Add '{source.name}' to fetch.items in {PARAMS}, then `dvc repro`.")
    raise UserError(
        f"{missing} Expected a catalog item ({FETCHED}/ITEM, with ITEM in fetch.items), a folder of your own with a "
        f"folder of images for each class ({OWN}/NAME/CLASS/*.jpg), or an archive of one ({OWN}/NAME.zip)."
    )


def write_counts(path: Path, splits: dict[str, list[Examined]], classes: list[str]) -> None:
    """Write one row a class: its name, and how many of its images each split holds."""
    counts = {split: Counter(image.sample.class_name for image in members) for split, members in splits.items()}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", *counts])
        writer.writerows([escape(name), *(count[name] for count in counts.values())] for name in classes)


if __name__ == "__main__":
    main()
