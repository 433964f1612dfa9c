"""DVC experiments from a script: run the pipeline, save what came out, and leave the workspace as it was.

`dvc exp run` would detach HEAD and put edits into a stash while a stage trains; interrupted there, they seem lost
(treeverse/dvc#10655). So the pipeline runs by `dvc repro`, and `dvc exp save` takes its two seconds without being
interrupted.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from stages.base.params import read_yaml
from stages.base.stage import UserError

DVC = (sys.executable, "-m", "dvc")
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
        (*DVC, *arguments), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                tell(line.rstrip("\n"))
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        raise UserError(f"`dvc {' '.join(arguments)}` failed; it says above why.")


def _end(process: subprocess.Popen[str]) -> None:
    while True:
        try:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate()
            return
        except KeyboardInterrupt:  # once more, then
            continue


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


@contextmanager
def unchanged(lock: Path, data: Path, files: Sequence[Path]) -> Iterator[None]:
    """Bring the workspace back to what it was when the block ends, however it ends.

    Args:
        lock: dvc.lock; outputs that the block changed are checked out as it says, those that were not there removed.
        data: folder of all outputs, which lie in it or in a folder of it.
        files: others that the pipeline or the block writes, outputs that DVC does not keep among them.
    """
    said = subprocess.run(("git", "rev-parse", "--git-path", "index"), capture_output=True, text=True, check=True)
    contents = {
        path: path.read_bytes() if path.exists() else None for path in (lock, *files, Path(said.stdout.strip()))
    }
    there = {path: _mark(path) for path in (*data.glob("*"), *data.glob("*/*"))}
    try:
        with _handled(signal.default_int_handler):
            yield
    finally:
        with uninterrupted():
            made = _outs(lock) - set(there)
            for path, content in contents.items():
                path.unlink(missing_ok=True)
                if content is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
            for path in made:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            outs = _outs(lock).difference(files)
            if changed := [str(path) for path, mark in there.items() if path in outs and mark != _mark(path)]:
                subprocess.run((*DVC, "checkout", "--quiet", "--force", *changed), start_new_session=True, check=False)


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


def _mark(path: Path) -> tuple[int, int] | None:
    """Return what differs once a file or folder was written anew."""
    return (stat.st_ino, stat.st_mtime_ns) if path.exists() and (stat := path.stat()) else None


def _outs(lock: Path) -> set[Path]:
    stages: dict[str, Any] = read_yaml(lock).get("stages", {}) if lock.exists() else {}
    return {Path(out["path"]) for stage in stages.values() for out in stage.get("outs", [])}
