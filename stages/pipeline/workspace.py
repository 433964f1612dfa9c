"""Restore the workspace after a command that changes it, however the command ends."""

import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stages.base.dvc_command import DVC, run_dvc
from stages.base.dvc_lock import read_lock
from stages.base.errors import UserError
from stages.base.files import read_json, replace_file
from stages.base.git_command import run_git
from stages.pipeline.experiments import defer_interrupts, handle_signals

BEFORE = Path("data/.before-experiments")  # the state to restore, while sweep or repeat runs
_RECORD = "record.json"


def check_outputs() -> None:
    """Raise UserError if the workspace holds outputs that a checkout could not restore."""
    status = json.loads(run_dvc("data", "status", "--json"))
    changed = status.get("uncommitted", {})
    paths = {*changed.get("added", ()), *changed.get("modified", ()), *status.get("not_in_cache", ())}
    if lost := sorted(path for path in paths if Path(path).exists()):
        raise UserError(
            f"{', '.join(lost)}: expected outputs that are in DVC's cache, because others replace them meanwhile; "
            f"these are not. Run `dvc commit` to keep them, or `dvc checkout` to discard them."
        )


@contextmanager
def preserve_workspace(
    before: Path, lock: Path, data: Path, files: Sequence[Path], params: Path, texts: Sequence[str]
) -> Iterator[None]:
    """Restore the workspace when the block ends, however it ends.

    If the process is killed, ``restore_workspace`` does it later.

    Args:
        before: folder for the state to restore.
        lock: dvc.lock; changed outputs are checked out as it says, new outputs removed.
        data: folder of all outputs, up to two levels deep.
        files: other files that the pipeline or the block writes, such as outputs that DVC does not cache.
        params: params.yaml, which the block edits.
        texts: everything that the block writes into it.
    """
    partial = before.with_name(f".partial-{before.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    index = Path(run_git("rev-parse", "--git-path", "index"))
    copies: dict[str, str | None] = {}
    for number, path in enumerate((params, lock, index, *files)):
        copies[str(path)] = str(number) if path.exists() else None
        if path.exists():
            shutil.copyfile(path, partial / str(number))
    record = {
        "commit": run_git("rev-parse", "HEAD"),
        "lock": str(lock),
        "params": str(params),
        "index": str(index),
        "copies": copies,
        "there": {str(path): _mark(path) for path in (*data.glob("*"), *data.glob("*/*"))},
        "texts": [_hash(text.encode()) for text in (params.read_text(encoding="utf-8"), *texts)],
    }
    (partial / _RECORD).write_text(json.dumps(record), encoding="utf-8")
    partial.rename(before)
    try:
        with handle_signals(signal.default_int_handler):
            yield
    finally:
        with defer_interrupts():
            _bring_back(before, record)


def restore_workspace(before: Path) -> None:
    """Restore the workspace after a process was killed in the block of ``preserve_workspace``.

    Args:
        before: the folder given to ``preserve_workspace``.

    Raises:
        UserError: the params or the commit have changed since, so it is unclear what to restore.
    """
    record = read_json(before / _RECORD)
    params = Path(record["params"])
    now = _hash(params.read_bytes()) if params.exists() else None
    if now not in record["texts"] or run_git("rev-parse", "HEAD") != record["commit"]:
        raise UserError(
            f"an earlier run was killed, and {params} or the commit changed since. To keep what is there now: "
            f"rm -r {before}. To go back to the text from before that run: cp {before}/0 {params}"
        )
    with defer_interrupts():
        _bring_back(before, record)


def _bring_back(before: Path, record: dict[str, Any]) -> None:
    lock, index, there = Path(record["lock"]), record["index"], record["there"]
    made: set[str] = set()
    with suppress(UserError):  # a kill may have truncated it
        made = _outs(lock) - set(there)
    staged = subprocess.run(("git", "diff", "--cached", "--quiet"), check=False).returncode
    for name, copy in record["copies"].items():
        path = Path(name)
        if name == index and staged:  # someone else staged this: `dvc exp save` stages nothing
            continue
        if copy is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_bytes() != (before / copy).read_bytes():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, (before / copy).read_bytes())
    for path in map(Path, made):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    outs = _outs(lock) - record["copies"].keys()
    changed = [path for path, mark in there.items() if path in outs and mark != _mark(Path(path))]
    command = (*DVC, "checkout", "--quiet", "--force", *changed)
    if changed and subprocess.run(command, start_new_session=True, check=False).returncode:
        raise UserError(f"`dvc checkout {' '.join(changed)}` failed; see its messages above. Run it again.")
    shutil.rmtree(before)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _mark(path: Path) -> list[int] | None:
    """Return what changes when a file or folder is rewritten."""
    return [stat.st_ino, stat.st_mtime_ns] if path.exists() and (stat := path.stat()) else None


def _outs(lock: Path) -> set[str]:
    return {str(out["path"]) for _, out in list_outputs(lock)}


def list_outputs(lock: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the outputs in dvc.lock: the stage's name, and what DVC recorded.

    Args:
        lock: dvc.lock.
    """
    for name, stage in read_lock(lock).items():
        for out in stage.outs.values():
            yield name, out
