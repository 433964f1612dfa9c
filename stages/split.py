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
from stages.sources.examine import Examined, LeftOut, examine
from stages.sources.samples import read_set

PARAMS = Path("params.yaml")
FETCHED = Path("data/fetch")
OWN = Path("data/own")
SPLIT = Path("data/split")

SHOWN = 10  # rejects in the message that refuses a data set


@stage("split")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "split", Split)
    source = find(Path(params.source))
    data_set = read_set(source)
    classes = select_classes(params.classes, data_set.classes)
    known = set(classes)
    chosen = [sample for sample in data_set.samples if sample.class_name in known]
    amounts = {"train": params.train, "val": params.val, "test": params.test}
    divided = any(sample.part is not None for sample in chosen)
    check_amounts(amounts, divided)

    results = list(progress(examine(chosen), "opening images", len(chosen)))
    rejects = [result for result in results if isinstance(result, LeftOut)]
    refuse_many(rejects, len(results), params.max_rejects)
    images, duplicates = without_duplicates(result for result in results if isinstance(result, Examined))
    splits = assign(images, classes, amounts, divided, params.seed)

    reading = {"form": params.form, "polarity": params.polarity, "fit": params.fit}
    with whole(SPLIT) as folder:
        for name, members in splits.items():
            # Each file is read again when its turn comes, so that memory holds no more than one group of rows.
            rows = (packed.Row(i.sample.source, i.sample.class_name, i.sample.data, i.width, i.height) for i in members)
            packed.write(folder / f"{name}.parquet", progress(rows, f"writing {name}", len(members)), classes, reading)
        write_left_out(folder / "rejects.csv", [*rejects, *duplicates])
        total = {name: len(members) for name, members in splits.items()}
        unused = len(images) - sum(total.values())
        summary = {"images": total, "unused": unused, "rejects": len(rejects), "duplicates": len(duplicates)}
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        write_counts(folder / "classes.csv", splits, classes)

    counts = ", ".join(f"{name} {len(splits[name])}" for name in SPLITS)
    say(f"{source}: {len(classes)} classes, {len(results)} images: {counts}{'; test as published' if divided else ''}")
    if rejects or duplicates:
        say(f"left out: {len(rejects)} unreadable, {len(duplicates)} duplicates (see {SPLIT / 'rejects.csv'})")


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


def refuse_many(rejects: list[LeftOut], total: int, limit: float) -> None:
    """Stop when more than the allowed share of the images cannot be read."""
    if len(rejects) <= limit * total:
        return
    lines = [f"  {reject.source}: {reject.reason}" for reject in rejects[:SHOWN]]
    more = [f"  ... and {len(rejects) - SHOWN} more"] if len(rejects) > SHOWN else []
    share = f"{len(rejects)} of {total} images ({len(rejects) / total:.1%})"
    advice = "Replace or remove these files, or raise split.max_rejects."
    raise UserError(
        "\n".join([f"{share} cannot be read; split.max_rejects allows {limit:.1%}.", *lines, *more, advice])
    )


def write_left_out(path: Path, entries: list[LeftOut]) -> None:
    """Write the list of what was left out."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["source", "class", "reason"])
        writer.writerows(map(escape, (entry.source, entry.class_name, entry.reason)) for entry in entries)


def write_counts(path: Path, splits: dict[str, list[Examined]], classes: list[str]) -> None:
    """Write one row a class: its name, and how many of its images each split holds."""
    counts = {split: Counter(image.sample.class_name for image in members) for split, members in splits.items()}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", *counts])
        writer.writerows([escape(name), *(count[name] for count in counts.values())] for name in classes)


if __name__ == "__main__":
    main()
