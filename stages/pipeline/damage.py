"""Find files that were damaged on disk. DVC compares time and size, so it does not notice flipped bits."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from stages.base.dvc_command import find_cache, find_cached
from stages.base.dvc_lock import read_lock
from stages.base.errors import UserError
from stages.base.files import hash_file
from stages.base.params import read_yaml
from stages.base.terminal import show_progress
from stages.pipeline.workspace import BEFORE, list_outputs

RWLOCK = Path(".dvc/tmp/rwlock")


class _Output(NamedTuple):
    """A file or folder that DVC tracks: its path, its hash, and the stage or .dvc file that it belongs to."""

    path: Path
    md5: str
    of: str


def find_broken_state(lock: Path) -> list[str]:
    """Return the state files that a full disk or a kill has truncated, each with its remedy. DVC fails with them.

    Args:
        lock: dvc.lock.
    """
    found = []
    if RWLOCK.is_file():
        try:
            json.loads(RWLOCK.read_bytes())
        except ValueError:
            found.append(f"{RWLOCK} is truncated, and DVC fails on it. If no other dvc is running: rm {RWLOCK}")
    if BEFORE.exists():
        found.append("params.yaml is that of a killed sweep or repeat. `python -m stages sweep` restores yours.")
    try:
        read_lock(lock)
    except UserError as error:
        found.append(f"{error} Bring it back with `git checkout {lock}`.")
    return found


def find_damage(lock: Path, own: Path) -> list[str]:
    """Compare all data with their hashes: each object in the cache with its name, each output with ``lock``.

    Args:
        lock: dvc.lock.
        own: folder of the data added with `dvc add`.

    Returns:
        A sentence for each difference, with its remedy. Missing files are not reported.
    """
    cache = find_cache()
    objects = sorted(path for path in cache.glob("??/*") if path.is_file())
    wrong = {
        f"{path.parent.name}{path.name}": path
        for path in show_progress(objects, "hashing the cache", unit="file")
        if hash_file(path, "md5") != f"{path.parent.name}{path.name}".removesuffix(".dir")
    }
    found = [
        f"{path} is damaged: its content does not match the MD5 in its name. Remove it: rm -f {path}"
        for path in wrong.values()
    ]
    for output in show_progress(list(_outputs(lock, own)), "hashing outputs", unit="output"):
        found += _compare(output, cache, wrong.keys())
    return found


def _compare(output: _Output, cache: Path, wrong: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with the files of an output."""
    listing = find_cached(cache, output.md5)
    members = {output.path: output.md5}
    if output.md5.endswith(".dir"):
        if not listing.exists() or output.md5 in wrong:
            if output.path.exists():
                yield f"{output.path} cannot be compared: DVC's cache does not list its files. {_again(output)}"
            return
        entries = json.loads(listing.read_bytes())
        members = {output.path / entry["relpath"]: entry["md5"] for entry in entries}
    for path, md5 in members.items():
        if not path.is_file():
            continue
        if hash_file(path, "md5") != md5:
            healed = find_cached(cache, md5).exists() and md5 not in wrong
            remedy = f"To restore it: rm -f {path}; dvc checkout {output.path}" if healed else _again(output)
            yield f"{path} differs from what {output.of} wrote: it was edited or damaged. {remedy}"
        elif md5 in wrong:
            yield f"{path} is intact. Once its copy in the cache is removed: dvc commit -f {output.of}"


def _again(output: _Output) -> str:
    """Return how to recreate an output that the cache does not hold."""
    if output.of.endswith(".dvc"):
        return f"If it was pushed: rm -rf {output.path}; dvc pull {output.path}"
    return f"To recreate it: rm -rf {output.path}; dvc repro --force {output.of}"


def _outputs(lock: Path, own: Path) -> Iterator[_Output]:
    for name, out in list_outputs(lock):
        yield _Output(Path(out["path"]), out["md5"], name)
    for file in sorted(own.glob("*.dvc")):
        for out in read_yaml(file).get("outs", []):
            yield _Output(own / out["path"], out["md5"], str(file))
