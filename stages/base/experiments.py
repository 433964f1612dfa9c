"""DVC experiments from a script: run the pipeline, save what came out, and leave the workspace as it was.

`dvc exp run` would detach HEAD and put edits into a stash while a stage trains; interrupted there, they seem lost
(treeverse/dvc#10655). So the pipeline runs by `dvc repro`, and `dvc exp save` takes its two seconds without being
interrupted.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from stages.base import follow
from stages.base.files import read_json
from stages.base.params import read_yaml
from stages.base.stage import UserError

DVC = (sys.executable, "-m", "dvc")
_FOLLOWING = (sys.executable, "-P", follow.__file__)  # DVC that ends with this process, however that ends
BEFORE = Path("data/.before-sweep")  # what the workspace was, while a sweep runs
_RECORD = "record.json"
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a terminal that is closed


def check_repository() -> None:
    """Raise UserError where experiments cannot be saved: outside of git, or before the first commit."""
    try:
        inside = subprocess.run(("git", "rev-parse", "--is-inside-work-tree"), capture_output=True, check=False)
        commit = subprocess.run(("git", "rev-parse", "--verify", "HEAD"), capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("experiments are kept in git, and there is no git here. Install it.") from None
    if inside.returncode:
        raise UserError("experiments are kept in git, and this is no git repository. Make it one: git init")
    if commit.returncode:
        raise UserError("experiments hang on a commit, and there is none. Make one: git add . && git commit -m Start")


def run(*arguments: str, tell: Callable[[str], None]) -> None:
    """Run a DVC command and hand the lines that it prints to ``tell``, as they come; its errors go to the terminal.

    It has a session of its own: an interruption (Ctrl-C) reaches it once, from here, and its end is waited for.

    Raises:
        UserError: it fails.
    """
    with subprocess.Popen(
        (*_FOLLOWING, *arguments), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                tell(line.rstrip("\n"))
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        _end(process)  # where DVC was killed, its stage may be there still
        why = "was killed" if process.returncode < 0 else "failed; it says above why"
        raise UserError(f"`dvc {' '.join(arguments)}` {why}.")


def _end(process: subprocess.Popen[str]) -> None:
    """Interrupt DVC and its stage, and wait until both have ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate()
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        except KeyboardInterrupt:  # once more, then
            continue
        except ProcessLookupError:
            return


def save(name: str, target: str, files: Sequence[Path]) -> None:
    """Save the workspace as experiment ``name``; one of that name on the same commit is replaced.

    Args:
        name: of the experiment.
        target: the last stage that ran: those after it are left out, for their outputs are of other params.
        files: taken along even where git does not know them.
    """
    untracked = [part for path in files for part in ("--include-untracked", str(path))]
    with uninterrupted():
        command = (*DVC, "exp", "save", "--force", "--name", name, target, *untracked)
        done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        raise UserError(f"`dvc exp save --name {name}` failed:\n{done.stderr}")


def cache_folder() -> Path:
    """Return the folder of DVC's cache.

    Raises:
        UserError: DVC does not tell, as outside of a repository.
    """
    said = subprocess.run((*DVC, "cache", "dir"), capture_output=True, text=True, check=False)
    if said.returncode:
        raise UserError(f"`dvc cache dir` failed:\n{said.stderr}")
    return Path(said.stdout.strip())


def check_outputs() -> None:
    """Raise UserError where the workspace holds outputs that a checkout could not bring back."""
    said = subprocess.run((*DVC, "data", "status", "--json"), capture_output=True, text=True, check=False)
    if said.returncode:
        raise UserError(f"`dvc data status` failed:\n{said.stderr}")
    status = json.loads(said.stdout)
    changed = status.get("uncommitted", {})
    paths = {*changed.get("added", ()), *changed.get("modified", ()), *status.get("not_in_cache", ())}
    if lost := sorted(path for path in paths if Path(path).exists()):
        raise UserError(
            f"{', '.join(lost)}: expected outputs that DVC's cache holds, since others take their place meanwhile; "
            f"received what it does not hold. Run `dvc commit` to keep it, or `dvc checkout` to drop it."
        )


@contextmanager
def unchanged(
    before: Path, lock: Path, data: Path, files: Sequence[Path], params: Path, texts: Sequence[str]
) -> Iterator[None]:
    """Bring the workspace back to what it was when the block ends, however it ends.

    Where the process is killed, ``restore`` does it later.

    Args:
        before: folder that holds what the workspace was until it is brought back.
        lock: dvc.lock; outputs that the block changed are checked out as it says, those that were not there removed.
        data: folder of all outputs, which lie in it or in a folder of it.
        files: others that the pipeline or the block writes, outputs that DVC does not keep among them.
        params: the file that the block edits.
        texts: all that it writes into it.
    """
    partial = before.with_name(f".partial-{before.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    index = Path(_git("rev-parse", "--git-path", "index"))
    copies: dict[str, str | None] = {}
    for number, path in enumerate((params, lock, index, *files)):
        copies[str(path)] = str(number) if path.exists() else None
        if path.exists():
            shutil.copyfile(path, partial / str(number))
    record = {
        "commit": _git("rev-parse", "HEAD"),
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
        with _handled(signal.default_int_handler):
            yield
    finally:
        with uninterrupted():
            _bring_back(before, record)


def restore(before: Path) -> bool:
    """Bring the workspace back where a process was killed in the block of ``unchanged``.

    Returns:
        Whether there was something to bring back.

    Raises:
        UserError: the params or the commit are others since then, so that nobody knows what is wanted.
    """
    if not before.exists():
        return False
    record = read_json(before / _RECORD)
    params = Path(record["params"])
    now = _hash(params.read_bytes()) if params.exists() else None
    if now not in record["texts"] or _git("rev-parse", "HEAD") != record["commit"]:
        raise UserError(
            f"an earlier run was killed, and {params} or the commit changed since. To keep what is there now: "
            f"rm -r {before}. To go back to the text from before that run: cp {before}/0 {params}"
        )
    with uninterrupted():
        _bring_back(before, record)
    return True


def _bring_back(before: Path, record: dict[str, Any]) -> None:
    lock, index, there = Path(record["lock"]), record["index"], record["there"]
    made = _outs(lock) - set(there)
    staged = subprocess.run(("git", "diff", "--cached", "--quiet"), check=False).returncode
    for name, copy in record["copies"].items():
        path = Path(name)
        if name == index and staged:  # `dvc exp save` leaves nothing staged: this is of someone else
            continue
        if copy is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_bytes() != (before / copy).read_bytes():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            shutil.copyfile(before / copy, partial)
            partial.replace(path)
    for path in map(Path, made):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    outs = _outs(lock) - record["copies"].keys()
    changed = [path for path, mark in there.items() if path in outs and mark != _mark(Path(path))]
    command = (*DVC, "checkout", "--quiet", "--force", *changed)
    if changed and subprocess.run(command, start_new_session=True, check=False).returncode:
        raise UserError(f"`dvc checkout {' '.join(changed)}` failed; it says above why. Run it again.")
    shutil.rmtree(before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put an interruption off to the end of the block."""
    came: list[int] = []
    with _handled(lambda kind, _: came.append(kind)):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = {kind: signal.signal(kind, handler) for kind in _ENDS}
    try:
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)


def _git(*arguments: str) -> str:
    return subprocess.run(("git", *arguments), capture_output=True, text=True, check=True).stdout.strip()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _mark(path: Path) -> list[int] | None:
    """Return what differs once a file or folder was written anew."""
    return [stat.st_ino, stat.st_mtime_ns] if path.exists() and (stat := path.stat()) else None


def _outs(lock: Path) -> set[str]:
    stages: dict[str, Any] = read_yaml(lock).get("stages", {}) if lock.exists() else {}
    return {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
