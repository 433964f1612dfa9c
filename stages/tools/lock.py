"""Lock the test images before data grow: they stay test images, and no others join them.

    python -m stages lock

Adds the images of data/split to data/tables/split.csv, which split reads: one row per image, identified by a hash of
its pixels. Existing rows stay, including those of other data sets. Commit the table.
"""

import argparse
import json
from pathlib import Path

from stages.base.dvc_command import run_dvc
from stages.base.errors import UserError
from stages.base.params import read_values
from stages.base.splits import SPLITS
from stages.base.stage import stage
from stages.base.terminal import say
from stages.images.split_file import SplitFile
from stages.schema.split import Split
from stages.splitting.lock_table import DIGITS, LockRows, read_rows, write_rows

PARAMS = Path("params.yaml")
SPLIT = Path("data/split")
TABLES = Path("data/tables")
LOCKED = TABLES / "split.csv"


@stage("lock")
def main() -> None:
    """Run the command."""
    build_parser().parse_args()
    (source,) = read_values(PARAMS, "split", Split, "source")
    changed = find_changes()
    if changed - {str(TABLES)}:
        raise UserError(f"{SPLIT} is out of date (changed: {', '.join(sorted(changed))}). Run `dvc repro split` first.")
    before = read_rows(LOCKED)
    found = read_splits(SPLIT)
    new = {pixels: row for pixels, row in found.items() if pixels not in before}
    if not new:
        test = sum(split == "test" for _, split in found.values())
        say(f"nothing to add: {test} test images and {len(found) - test} others of {source} are locked already")
        return
    if changed:
        raise UserError(f"{TABLES} has changed since {SPLIT} was written. Run `dvc repro split` first.")
    write_rows(LOCKED, {**before, **new})
    test = sum(split == "test" for _, split in new.values())
    more = f" ({len(found) - len(new)} of its images were locked before)" if len(new) < len(found) else ""
    say(f"locked {test} test images and {len(new) - test} others of {source}{more}; commit {LOCKED}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return argparse.ArgumentParser(
        prog="python -m stages lock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def find_changes() -> set[str]:
    """Return what has changed since split ran: dependencies, params, and edited or missing outputs."""
    status = json.loads(run_dvc("status", "split", "--json"))
    found: set[str] = set()
    for change in status.get("split", []):
        for paths in change.values() if isinstance(change, dict) else [[change]]:
            found |= set(paths)
    return found


def read_splits(folder: Path) -> LockRows:
    """Return the rows that lock the images of ``folder``. Images that split does not use stay unlocked."""
    rows: LockRows = {}
    for name in SPLITS:
        split = SplitFile(folder / f"{name}.parquet")
        for pixels, label in zip(split.pixels(), split.labels(), strict=True):
            rows[pixels[:DIGITS]] = (split.classes[label], "test" if name == "test" else "other")
    return rows


if __name__ == "__main__":
    main()
