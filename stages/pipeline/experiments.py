"""Run the pipeline from a script, and save the results as DVC experiments.

`dvc exp run` detaches HEAD and stashes edits while a stage trains, so an interruption seems to lose them
(treeverse/dvc#10655). Here `dvc repro` runs the pipeline, and the two seconds of `dvc exp save` cannot be interrupted.
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

_FOLLOWING = (sys.executable, "-P", parent.__file__)  # DVC, ended when this process ends
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, closing the terminal


def check_repository() -> None:
    """Raise UserError if experiments cannot be saved: outside git, or before the first commit."""
    try:
        inside = subprocess.run(("git", "rev-parse", "--is-inside-work-tree"), capture_output=True, check=False)
        commit = subprocess.run(("git", "rev-parse", "--verify", "HEAD"), capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("experiments are stored in git, which is not installed. Install it.") from None
    if inside.returncode:
        raise UserError("experiments are stored in git, and this is not a git repository. Make it one: git init")
    if commit.returncode:
        raise UserError("experiments belong to a commit, and there is none. Make one: git add . && git commit -m Start")


def stream_dvc(*arguments: str, tell: Callable[[str], None]) -> None:
    """Run a DVC command and pass each line that it prints to ``tell``; its errors go to the terminal.

    It runs in its own session, so that this function alone forwards an interruption (Ctrl-C) and waits for its end.

    Args:
        arguments: of ``dvc``.
        tell: called with each line, without its newline.

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
        _end(process)  # a stage may outlive a DVC that was killed
        why = "was killed" if process.returncode < 0 else "failed; see its messages above"
        raise UserError(f"`dvc {' '.join(arguments)}` {why}.")


def _end(process: subprocess.Popen[str]) -> None:
    """Interrupt DVC and its stage, and wait for both."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate()
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        except KeyboardInterrupt:  # interrupt again
            continue
        except ProcessLookupError:
            return


def save_experiment(name: str, target: str, files: Sequence[Path]) -> None:
    """Save the workspace as an experiment; it replaces one of the same name on the same commit.

    Args:
        name: of the experiment.
        target: the last stage that ran; later stages are excluded, because their outputs belong to other params.
        files: included even if git does not track them.
    """
    untracked = [part for path in files for part in ("--include-untracked", str(path))]
    with defer_interrupts():
        command = (*DVC, "exp", "save", "--force", "--name", name, target, *untracked)
        done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        raise UserError(f"`dvc exp save --name {name}` failed:\n{done.stderr}")


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Postpone interruptions to the end of the block."""
    came: list[int] = []
    with handle_signals(lambda kind, _: came.append(kind)):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Call ``handler`` for signals that would end the process, within the block.

    Args:
        handler: as ``signal.signal`` takes it.
    """
    before = {kind: signal.signal(kind, handler) for kind in _ENDS}
    try:
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)
