"""Fetch one catalog item to data/fetch/ITEM: published files, verified by hash, or files generated here.

    python -m stages.fetch mnist
    THAW_MIRROR=~/downloads python -m stages.fetch mnist     (a folder or address that is tried first)

Intact files are reused, and interrupted downloads resume.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.stage import stage
from stages.base.terminal import format_size, say
from stages.downloads.catalog import CLASSES_FILE, DownloadItem, GeneratedItem, read_catalog, read_entry
from stages.downloads.download import is_intact, list_places, obtain
from stages.downloads.http import RetryPolicy

CATALOG = Path("stages/downloads/catalog.yaml")
FETCH = Path("data/fetch")
MIRROR = "THAW_MIRROR"


def main() -> None:
    """Fetch the item named on the command line."""
    with stage("fetch"):
        if len(sys.argv) != 2:
            known = ", ".join(read_catalog(CATALOG))
            raise UserError(
                f"expected one item (python -m stages.fetch ITEM), received {sys.argv[1:]}; items: {known}."
            )
        item = sys.argv[1]
        fetch(item, read_entry(CATALOG, item), FETCH, os.environ.get(MIRROR, ""), RetryPolicy())


def fetch(item: str, entry: DownloadItem | GeneratedItem, root: Path, mirror: str, patience: RetryPolicy) -> None:
    """Write ``root``/``item``, completely or not at all.

    Args:
        item: its name.
        entry: what it consists of.
        root: the folder of all items.
        mirror: a folder or address that is tried first; may be empty.
        patience: how to retry.

    Raises:
        UserError: no place provides a file.
    """
    parts = root / ".part" / item  # outside the working folder, so that a killed download can resume
    with replace_folder(root / item) as folder:
        if isinstance(entry, GeneratedItem):
            say(f"{item}: {_generate(entry, folder)}")
        else:
            _download(item, entry, folder, root / item, parts, mirror, patience)
    shutil.rmtree(parts, ignore_errors=True)
    with suppress(OSError):  # another item's download may be in it
        parts.parent.rmdir()


def _generate(entry: GeneratedItem, folder: Path) -> str:
    from stages.builtin_data.digits import write_digits  # here: downloads need no SciPy, which is slow to import
    from stages.builtin_data.paper import write_paper

    return {"digits": write_digits, "paper_digits": write_paper}[entry.generator](folder)


def _download(
    item: str, entry: DownloadItem, folder: Path, there: Path, parts: Path, mirror: str, patience: RetryPolicy
) -> None:
    reused = 0
    for file in entry.files:
        source = there / file.name
        if is_intact(source, file):
            reused += 1
        else:
            source = parts / file.name
            obtain(file, source, list_places(file, item, mirror), patience, there)
        _place(source, folder / file.name)
    if entry.classes:
        (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in entry.classes), encoding="utf-8")
    size = format_size(sum(path.stat().st_size for path in folder.iterdir()))
    unknown = [file.name for file in entry.files if not file.hash]
    checked = f"no hash is published for {', '.join(unknown)}: dvc.lock records it" if unknown else "verified"
    already = f"; {reused} of them were already here" if reused else ""
    say(f"{item}: {len(entry.files)} files, {size}, {checked}{already}")


def _place(source: Path, target: Path) -> None:
    """Create a hard link to ``source``, or copy it if the file system does not allow links."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
