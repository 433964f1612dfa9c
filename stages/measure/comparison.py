"""Compare the test split with the last commit's: accuracies are comparable over the images that both hold."""

import re
import subprocess
from pathlib import Path

import pyarrow.parquet as pq

from stages.base.dvc_command import find_cache, find_cached
from stages.base.errors import UserError
from stages.base.terminal import say


def report_overlap(path: Path, lock: Path) -> None:
    """Print how many images the test split shares with HEAD's, if they differ; see ``describe_overlap``.

    It is only printed, because what a stage writes must not depend on git.

    Args:
        path: the test split.
        lock: dvc.lock.
    """
    if line := describe_overlap(path, lock):
        say(line)


def describe_overlap(path: Path, lock: Path) -> str | None:
    """Return a line on how many images the test split shares with HEAD's. Both are read from DVC's cache.

    Args:
        path: the test split, data/STAGE/FILE.
        lock: dvc.lock, which HEAD holds, too.

    Returns:
        None if they are equal, or cannot be compared: no git, no commit, no split in it.
    """
    try:
        now, commit = _hash_of(path, lock.read_text(encoding="utf-8")), _git("rev-parse", "--short", "HEAD")
        before = _hash_of(path, _git("show", f"HEAD:./{lock}"))
        if not now or not before or now == before:
            return None
        cache = find_cache()
        old, new = (find_cached(cache, md5) for md5 in (before, now))
        if not old.is_file():
            return (
                f"test split: not that of HEAD ({commit}), which is missing from DVC's cache; to see how many "
                f"images they share: dvc fetch --all-branches {path}"
            )
        was, is_now = _pixels(old), _pixels(new)
    except (UserError, OSError, ValueError, KeyError):
        return None
    if was == is_now:
        return None
    shared = f"test split: {len(was & is_now)} of {len(is_now)} images are among the {len(was)} of HEAD ({commit})"
    return f"{shared}; compare accuracies over these alone" if was & is_now else f"{shared}; accuracies do not compare"


def _git(*arguments: str) -> str:
    """Return what git says; nothing where it fails."""
    return subprocess.run(("git", *arguments), capture_output=True, encoding="utf-8", check=False).stdout.strip()


def _hash_of(path: Path, lock: str) -> str | None:
    """Return the hash of an output in the text of a dvc.lock, which would take a second to parse."""
    entry = rf"    - path: {re.escape(str(path))}\n      hash: md5\n      md5: (\w+)$"
    found = re.search(rf"^  {path.parent.name}:\n(?:    .*\n)*?{entry}", lock, re.MULTILINE)
    return found[1] if found else None


def _pixels(path: Path) -> set[str]:
    return set(pq.read_table(path, columns=["pixels"])["pixels"].to_pylist())
