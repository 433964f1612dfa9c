"""Replace an output folder in one step, by one process at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stages.base.errors import UserError


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty working folder that becomes ``folder`` when, and only when, the block succeeds.

    The working folder is ``.partial-NAME`` beside ``folder``, so that the last step is a rename; git ignores it. The
    remains of a killed run are removed first. Whenever that run was killed, either the earlier result or the new one
    survives.

    Raises:
        UserError: another process is writing this folder.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        yield from _replace(folder)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Be the only process that writes ``folder``. The system releases the lock when the process ends.

    Raises:
        UserError: another process is writing it.
    """
    file = folder.with_name(f".partial-{folder.name}.lock")
    with ExitStack() as stack:
        while True:
            lock = stack.enter_context(file.open("a+", encoding="ascii"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                number = lock.read().strip()
                raise UserError(
                    f"process {number} is already writing {folder.name}. Wait until it ends, or end it: kill {number}"
                ) from None
            if file.exists() and os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                break  # otherwise its holder has just removed it: try again
        stack.callback(file.unlink, missing_ok=True)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _replace(folder: Path) -> Iterator[Path]:
    partial, old = folder.with_name(f".partial-{folder.name}"), folder.with_name(f".partial-{folder.name}-old")
    if old.exists() and not folder.exists():
        old.rename(folder)  # killed between the two renames below
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
