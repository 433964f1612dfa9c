"""Bring one catalog item to data/fetch/ITEM: published files, checked by hash, or files made from what a library ships.

    python -m stages.fetch mnist
    THAW_MIRROR=~/downloads python -m stages.fetch mnist     (a folder or address that is asked first)

Files that are there already and right are kept; what an interrupted run left behind is gone on with.
"""

import os
import shutil
import sys
from collections.abc import Callable
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
                f"expected one item (python -m stages.fetch ITEM), received {sys.argv[1:]}; there are: {known}."
            )
        item = sys.argv[1]
        fetch(item, read_entry(CATALOG, item), FETCH, os.environ.get(MIRROR, ""), RetryPolicy())


def fetch(item: str, entry: DownloadItem | GeneratedItem, root: Path, mirror: str, patience: RetryPolicy) -> None:
    """Write ``root``/``item``, whole or not at all.

    Raises:
        UserError: a file can be had from nowhere, or the entry asks for an unknown generator.
    """
    parts = root / ".part" / item  # outside the working folder, so that a killed download is not begun anew
    with replace_folder(root / item) as folder:
        if isinstance(entry, GeneratedItem):
            say(f"{item}: {_make(item, entry, folder)}")
        else:
            _download(item, entry, folder, root / item, parts, mirror, patience)
    shutil.rmtree(parts, ignore_errors=True)
    with suppress(OSError):  # another item's download may be in it
        parts.parent.rmdir()


def _make(item: str, entry: GeneratedItem, folder: Path) -> str:
    from stages.demo.digits import write_digits  # here: they import SciPy, which downloads do not need
    from stages.demo.paper import write_paper

    generators: dict[str, Callable[[Path], str]] = {"digits": write_digits, "paper_digits": write_paper}
    if entry.generator not in generators:
        known = ", ".join(generators)
        raise UserError(f"{CATALOG}: {item}.generator: expected one of {known}, received '{entry.generator}'.")
    return generators[entry.generator](folder)


def _download(
    item: str, entry: DownloadItem, folder: Path, there: Path, parts: Path, mirror: str, patience: RetryPolicy
) -> None:
    kept = 0
    for file in entry.files:
        source = there / file.name
        if is_intact(source, file):
            kept += 1
        else:
            source = parts / file.name
            obtain(file, source, list_places(file, item, mirror), patience, there)
        _place(source, folder / file.name)
    if entry.classes:
        (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in entry.classes), encoding="utf-8")
    size = format_size(sum(path.stat().st_size for path in folder.iterdir()))
    unknown = [file.name for file in entry.files if not file.hash]
    checked = f"no hash is published for {', '.join(unknown)}: dvc.lock holds this one's" if unknown else "checked"
    say(f"{item}: {len(entry.files)} files, {size}, {checked}; {kept} of them were here already")


def _place(source: Path, target: Path) -> None:
    """Give the file a second name, or copy it where the file system or a link in the way does not allow that."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
