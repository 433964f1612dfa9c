"""Compare the test split with the last commit's: accuracies are comparable over the images that both hold."""

from pathlib import Path

import pyarrow.parquet as pq

from stages.base.dvc_command import find_cache, find_cached
from stages.base.dvc_lock import Lock, parse_lock, read_lock
from stages.base.errors import UserError
from stages.base.git_command import run_git
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
        now, commit = _hash_of(path, read_lock(lock)), run_git("rev-parse", "--short", "HEAD")
        before = _hash_of(path, parse_lock(run_git("show", f"HEAD:./{lock}"), "dvc.lock"))
        if not now or not before or now == before:
            return None
        cache = find_cache()
        old, new = (find_cached(cache, md5) for md5 in (before, now))
        if not old.is_file():
            return (
                f"test split: not that of the last commit ({commit}), which is missing from DVC's cache; to see how "
                f"many images they share: dvc fetch --all-branches {path}"
            )
        was, is_now = _pixels(old), _pixels(new)
    except (UserError, OSError, ValueError, KeyError):
        return None
    if was == is_now:
        return None
    if not was & is_now:
        return f"test split: none of its images was in that of the last commit ({commit}): do not compare accuracies"
    return (
        f"test split: {len(was & is_now)} of its {len(is_now)} images were in that of the last commit ({commit}), "
        f"which has {len(was)}: compare accuracies only on images that both have"
    )


def _hash_of(path: Path, lock: Lock) -> str | None:
    """Return the hash of an output; None if ``lock`` does not have it."""
    stage = lock.get(path.parent.name)
    return stage.outs.get(str(path), {}).get("md5") if stage else None


def _pixels(path: Path) -> set[str]:
    return set(pq.read_table(path, columns=["pixels"])["pixels"].to_pylist())
