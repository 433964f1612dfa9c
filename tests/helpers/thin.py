"""Environments that hold a few libraries and what these require, and nothing else of the tests' own environment."""

import subprocess
import sys
from collections import Counter
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def make_environment(folder: Path, libraries: list[str]) -> Path:
    """Make a virtual environment of links to the installed libraries, without a download; return its Python.

    Args:
        folder: to make.
        libraries: names, in their installed versions.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    installed = {canonicalize_name(each.name): each for each in distributions()}
    owners = Counter(top for each in installed.values() for top in _list_tops(each))
    shared = {top for top, count in owners.items() if count > 1}
    for name in _find_required(libraries, installed):
        for path in _list_links(installed[name], shared):
            link, source = packages / path, Path(str(installed[name].locate_file(path)))
            link.parent.mkdir(parents=True, exist_ok=True)
            if source.exists() and not link.exists():
                link.symlink_to(source)
    return folder / "bin" / "python"


def _find_required(libraries: list[str], installed: dict[str, Distribution]) -> set[str]:
    found: set[str] = set()
    queue = list(map(canonicalize_name, libraries))
    while queue:
        name = queue.pop()
        if name not in found and name in installed:
            found.add(name)
            required = map(Requirement, installed[name].requires or [])
            needed = (one for one in required if not one.marker or one.marker.evaluate({"extra": ""}))
            queue += [canonicalize_name(one.name) for one in needed]
    return found


def _list_tops(library: Distribution) -> set[str]:
    return {file.parts[0] for file in library.files or [] if file.parts[0] != ".."}


def _list_links(library: Distribution, shared: set[str]) -> set[str]:
    """Return top-level files and folders; of folders that several libraries share, such as google, each file."""
    files = [file for file in library.files or [] if file.parts[0] != ".."]
    return {str(file) if file.parts[0] in shared else file.parts[0] for file in files}
