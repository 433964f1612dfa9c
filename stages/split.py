"""Split a data set into train, val and test: every image opened for good, no picture in two splits.

    python -m stages.split

Reads the data set that ``split.source`` names. Writes to data/split/ one packed Parquet file a split, rejects.csv (what
was left out, and why), summary.json and classes.csv (how many images there are, in all and of each class).
"""

import json
from pathlib import Path

from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.params import read_section
from stages.base.stage import stage
from stages.base.terminal import say, show_progress
from stages.images import split_file
from stages.schema.split import Split
from stages.sources.data_set import LeftOut
from stages.sources.rejects import list_on_failure, refuse_many, say_left_out, write_left_out
from stages.splitting.amounts import check_amounts
from stages.splitting.assign import drop_duplicates, select_classes
from stages.splitting.counts import say_splits, write_counts
from stages.splitting.examine import ExaminedImage, examine, find_blank
from stages.splitting.gray_range import choose_range, describe_range
from stages.splitting.groups import Grouping, divide
from stages.splitting.lock_table import read_lock_table
from stages.splitting.near_duplicates import describe_pairs, find_near_duplicates, write_pairs
from stages.splitting.source import read_source

PARAMS = Path("params.yaml")
FETCHED = Path("data/fetch")
OWN = Path("data/own")
TABLES = Path("data/tables")
SPLIT = Path("data/split")
LOCKED = TABLES / "split.csv"

REJECTED = SPLIT.with_name(".rejects-split.csv")  # of a run that failed, which leaves no outputs


@stage("split")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "split", Split)
    source = find(Path(params.source))
    data_set = read_source(params, TABLES)
    classes = select_classes(params.classes, data_set.classes)
    known = set(classes)
    chosen = [sample for sample in data_set.samples if sample.class_name in known]
    amounts = {"train": params.train, "val": params.val, "test": params.test}
    given = {sample.part for sample in data_set.samples if sample.part}
    check_amounts(amounts, given)
    locked = read_lock_table(LOCKED)

    near, handwriting = params.near_duplicates != "keep", params.polarity if params.form == "ink" else None
    results = list(show_progress(examine(chosen, near, handwriting), "opening images", len(chosen)))
    rejects = [result for result in results if isinstance(result, LeftOut)] + data_set.left_out
    readable = [result for result in results if isinstance(result, ExaminedImage)]
    images, duplicates = drop_duplicates(readable, [image.pixels for image in readable])
    left_out = [*rejects, *duplicates]
    with list_on_failure(REJECTED, left_out):
        while True:
            refuse_many(left_out, len(readable), params.max_rejects)
            pairs = find_near_duplicates([image.picture for image in images if image.picture])
            shown = [(images[one], images[other]) for one, other in pairs]
            together = Grouping(params.group, params.near_duplicates, pairs)
            splits, excluded = divide(images, together, classes, amounts, given, params.seed, left_out, locked)
            values = choose_range(params.range, splits["train"])
            lacking = find_blank(images, values, handwriting)
            if not lacking:
                break
            rejects += lacking
            left_out += lacking
            without = {entry.source for entry in lacking}  # the others are drawn anew
            readable, images = ([i for i in some if i.sample.source not in without] for some in (readable, images))
        left_out += excluded

    reading = {"form": params.form, "polarity": params.polarity, "fit": params.fit, "range": values}
    with replace_folder(SPLIT) as folder:
        for name, members in splits.items():
            # Each file is read again when its turn comes, so that memory holds no more than one group of rows.
            rows = (
                split_file.SplitRow(i.sample.source, i.sample.class_name, i.sample.data, i.width, i.height, i.pixels)
                for i in members
            )
            split_file.write_split(
                folder / f"{name}.parquet", show_progress(rows, f"writing {name}", len(members)), classes, reading
            )
        write_left_out(folder / "rejects.csv", left_out)
        total = {name: len(members) for name, members in splits.items()}
        unused = len(images) - len(excluded) - sum(total.values())
        held = sum(locked.is_test(image.pixels) for image in splits["test"])
        summary = {"images": total, "unused": unused, "rejects": len(rejects), "duplicates": len(duplicates)}
        summary |= {"locked": held}
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        write_counts(folder / "classes.csv", splits, classes)
        write_pairs(folder / "near_duplicates.parquet", shown, values)

    say_splits(source, chosen, classes, splits, given, unused)
    parts = (f"{part} part: {path}" for part, path in data_set.parts.items())
    for line in (*parts, *data_set.notes, *describe_range(values, params.range, splits), *describe_pairs(shown, near)):
        say(line)
    if held:
        say(f"{held} of the {total['test']} test images are locked (see {LOCKED})")
    say_left_out(left_out, ("unreadable", "duplicate"), f" (see {SPLIT / 'rejects.csv'})")


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
        f"folder of images for each class ({OWN}/NAME/CLASS/*.jpg) or a table of labels, or an archive of one "
        f"({OWN}/NAME.zip)."
    )


if __name__ == "__main__":
    main()
