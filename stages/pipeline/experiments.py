"""DVC experiments from a script: run the pipeline, and save what came out.

`dvc exp run` would detach HEAD and put edits into a stash while a stage trains; interrupted there, they seem lost
(treeverse/dvc#10655). So the pipeline runs by `dvc repro`, and `dvc exp save` takes its two seconds without being
interrupted.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from stages.base import parent
from stages.base.dvc_command import DVC
from stages.base.errors import UserError

_FOLLOWING = (sys.executable, "-P", parent.__file__)  # DVC that ends with this process, however that ends
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


def stream_dvc(*arguments: str, tell: Callable[[str], None]) -> None:
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


def save_experiment(name: str, target: str, files: Sequence[Path]) -> None:
    """Save the workspace as experiment ``name``; one of that name on the same commit is replaced.

    Args:
        name: of the experiment.
        target: the last stage that ran: those after it are left out, for their outputs are of other params.
        files: taken along even where git does not know them.
    """
    untracked = [part for path in files for part in ("--include-untracked", str(path))]
    with defer_interrupts():
        command = (*DVC, "exp", "save", "--force", "--name", name, target, *untracked)
        done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        raise UserError(f"`dvc exp save --name {name}` failed:\n{done.stderr}")


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Put an interruption off to the end of the block."""
    came: list[int] = []
    with handle_signals(lambda kind, _: came.append(kind)):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Have ``handler`` called for what ends a process, within the block."""
    before = {kind: signal.signal(kind, handler) for kind in _ENDS}
    try:
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)
