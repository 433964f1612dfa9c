"""What grouping, near duplicates and a table of labels cost split, beside split without them.

    python -m tests.benchmarks.split_keys [--images 50000] [--before CHECKOUT] [--folder FOLDER]

Splits JPEGs at 224 px, in an archive of ten class folders, first with nothing asked for, then with one key at a time,
then with all. CHECKOUT is another version of the project, measured on the same images with nothing asked for: it is the
one that the others are held against. Needs 12 kB of disk an image in FOLDER (default: where temporary files go), three
times; about twenty minutes on two cores. Prints seconds, seconds of all cores, MiB, and ratios.
"""

import csv
import io
import tarfile
from pathlib import Path
from typing import Any

from tests.benchmarks.measured import Measured, processor, stage, table
from tests.benchmarks.memory import CLASSES, write_images
from tests.helpers.benchmark import project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import set_params

PLAIN = {"form": "photo", "polarity": "light_on_dark", "train": 0.8, "val": 0.1, "test": "rest"}
SETS = 100  # groups of images, named by digits of their numbers
GROUPED = {"group": {"regex": r"(\d\d)\d\.jpg"}}
TABLE = {"labels": "labels.csv", "group": {"column": "patient"}}
KEYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "group": GROUPED,
    "near_duplicates": {"near_duplicates": "group"},
    "labels": {**TABLE, "source": "data/own/table.tar"},
    "all": {**TABLE, "source": "data/own/table.tar", "near_duplicates": "group"},
}


def main() -> None:
    """Split the same images with other keys and print what it takes."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with project_copy(folder=arguments.folder) as here:
        own = here / "data" / "own"
        own.mkdir(parents=True, exist_ok=True)
        write_images(own / "made.tar", arguments.images)
        add_table(own / "made.tar", own / "table.tar")
        runs: dict[str, Measured] = {}
        if arguments.before:
            values = {**PLAIN, "source": str(own / "made.tar")}
            set_params(arguments.before, {"split": values})
            runs["before"] = stage(arguments.before, "split")
        for name, keys in KEYS.items():
            set_params(here, {"split": {**PLAIN, "source": "data/own/made.tar", "group": "none"}})
            set_params(here, {"split": {"labels": "none", "near_duplicates": "keep", **keys}})
            runs[name] = stage(here, "split")
    first = next(iter(runs.values()))
    rows = [(f"{arguments.images:,} images", "seconds", "CPU seconds", "MiB", "ratio of CPU", "of MiB")]
    for name, run in runs.items():
        ratios = (f"{run.cpu / first.cpu:.2f}", f"{run.mib / first.mib:.2f}")
        rows.append((name, f"{run.seconds:.1f}", f"{run.cpu:.1f}", f"{run.mib:,.0f}", *ratios))
    print(f"{processor()}\n{table(rows)}")


def add_table(archive: Path, target: Path) -> None:
    """Copy an archive with a table of its images: file, label, and a patient for each."""
    rows = [("file", "label", "patient")]
    with tarfile.open(archive) as source, tarfile.open(target, "w") as file:
        for member in source:
            rows.append((member.name, member.name.partition("/")[0], str((len(rows) - 1) // CLASSES % SETS)))
            file.addfile(member, source.extractfile(member))
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        member, data = tarfile.TarInfo("labels.csv"), text.getvalue().encode()
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main()
