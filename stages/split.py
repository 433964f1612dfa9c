"""Split a data set into train, val and test: every image is fully decoded, and no picture is in two splits.

    python -m stages.split [--ray]

Reads the data set at ``split.source``. Writes to data/split/ one Parquet file per split, rejects.csv (what was left
out, and why), near_duplicates.parquet, and the numbers of images: summary.json (total) and classes.csv (per class).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.folders import replace_folder
from stages.base.params import read_section
from stages.base.stage import stage
from stages.base.terminal import say, show_progress
from stages.cluster.cluster import open_cluster
from stages.images.split_file import SplitRow, write_split
from stages.schema.split import Split
from stages.sources.rejects import list_on_failure, say_left_out, write_left_out
from stages.splitting.amounts import SplitPlan, check_amounts
from stages.splitting.assignment import assign_splits
from stages.splitting.correction_table import read_corrections
from stages.splitting.corrections import apply_corrections, check_corrections, describe_locked
from stages.splitting.counts import say_splits, write_counts
from stages.splitting.examine import ExaminedImage, examine
from stages.splitting.gray_range import describe_range
from stages.splitting.lock_table import read_lock_table
from stages.splitting.near_duplicates import describe_pairs, write_pairs
from stages.splitting.source import read_source
from stages.splitting.stratified import drop_duplicates, select_classes

PARAMS = Path("params.yaml")
FETCHED = Path("data/fetch")
OWN = Path("data/own")
TABLES = Path("data/tables")
SPLIT = Path("data/split")
LOCKED = TABLES / "split.csv"

REJECTED = SPLIT.with_name(".rejects-split.csv")  # written if the stage fails, which leaves no outputs


@stage("split")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "split", Split)
    source = find_source(Path(params.source))
    data_set = read_source(params, TABLES)
    corrections = read_corrections(params.corrections, TABLES)
    check_corrections(corrections, data_set)
    classes = select_classes(params.classes, data_set.classes)
    known = set(classes)
    samples = corrections.select(data_set.samples, known)
    given = {sample.part for sample in data_set.samples if sample.part}
    check_amounts(params.amounts, given)
    locked = read_lock_table(LOCKED)

    near = params.near_duplicates != "keep"
    with open_cluster("split") as cluster:
        found = examine(samples, near, params.handwriting, cluster)
        results = list(show_progress(found, "opening images", len(samples)))
    corrected = apply_corrections(corrections, results, known, data_set)
    readable = corrected.images
    images, duplicates = drop_duplicates(readable, [image.pixels for image in readable])
    left_out = [*corrected.unreadable, *data_set.left_out, *corrected.dropped, *duplicates]
    with list_on_failure(REJECTED, left_out):
        plan = SplitPlan(classes, params.amounts, given, params.seed, locked, params.redraw)
        assigned = assign_splits(images, len(readable), params, plan, left_out)

    splits = assigned.splits
    summary = {
        "images": {name: len(members) for name, members in splits.items()},
        "unused": assigned.unused,
        "rejects": len(left_out) - len(duplicates) - len(assigned.excluded) - len(corrected.dropped),
        "duplicates": len(duplicates),
        "locked": sum(locked.is_test(image.pixels) for image in splits["test"]),
        "corrections": {**corrected.counts, "left_out": len(corrected.dropped)},
    }
    reading = {"form": params.form, "polarity": params.polarity, "fit": params.fit, "range": assigned.range}
    with replace_folder(SPLIT) as folder:
        for name, members in splits.items():
            write_images(folder / f"{name}.parquet", members, classes, reading)
        write_left_out(folder / "rejects.csv", left_out)
        write_json(folder / "summary.json", summary)
        write_counts(folder / "classes.csv", splits, classes)
        write_pairs(folder / "near_duplicates.parquet", assigned.pairs, assigned.range)

    say_splits(source, samples, classes, splits, given, assigned.unused)
    parts = (f"{part} part: {path}" for part, path in data_set.parts.items())
    ranges = describe_range(assigned.range, params.range, splits)
    near_pairs = [describe_pairs(assigned.pairs)] if near else []
    for line in (*parts, *data_set.notes, *ranges, *near_pairs, *corrected.notes):
        say(line)
    if summary["locked"]:
        say(f"{summary['locked']} of the {len(splits['test'])} test images are locked (see {LOCKED})")
    for line in describe_locked(results, corrected, locked):
        say(line)
    say_left_out(left_out, ("unreadable", "duplicate"), f" (see {SPLIT / 'rejects.csv'})")


def write_images(
    path: Path, images: Sequence[ExaminedImage], classes: Sequence[str], reading: Mapping[str, Any]
) -> None:
    """Write a split's file. Each image is read again in turn, so that memory holds one row group at a time.

    Args:
        path: the file to write.
        images: of the split.
        classes: all class names.
        reading: how the images become pixels; see ``write_split``.
    """
    rows = (
        SplitRow(i.sample.source, i.sample.class_name, i.sample.data, i.width, i.height, i.pixels, i.sample.group)
        for i in images
    )
    grouped = any(image.sample.group for image in images)
    write_split(path, show_progress(rows, f"writing {path.stem}", len(images)), classes, reading, grouped)


def find_source(source: Path) -> Path:
    """Return the path of the data set, or raise UserError that says how to get it."""
    if source.exists():
        return source
    missing = f"split.source: there is no {source}."
    if source.with_name(f"{source.name}.dvc").is_file():
        raise UserError(f"{missing} It is versioned with DVC: get it with `dvc pull {source}`.")
    if source.parent == FETCHED:
        raise UserError(f"{missing} Add '{source.name}' to fetch.items in {PARAMS}, then `dvc repro`.")
    raise UserError(
        f"{missing} Expected a catalog item ({FETCHED}/ITEM, with ITEM in fetch.items), a folder of your own with a "
        f"folder of images for each class ({OWN}/NAME/CLASS/*.jpg) or a table of labels, or an archive of one "
        f"({OWN}/NAME.zip)."
    )


if __name__ == "__main__":
    main()
