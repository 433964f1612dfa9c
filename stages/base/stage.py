"""What every stage does around its work: say what happens, fail with one line, publish whole outputs."""

import errno
import fcntl
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from stages.base.parent import follow_parent
from stages.base.versions import other_versions

T = TypeVar("T")

_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "Free some disk, or raise the limit.",
    (errno.EACCES, errno.EPERM, errno.EROFS): "Change its permissions, or those of its folder.",
    (errno.EISDIR, errno.ENOTDIR, errno.EEXIST): "Something else lies in its place: move it away.",
    (errno.EIO,): "The disk may be failing: check it.",
}
# Scripts that take no arguments, but for the first; the others, commands, read theirs by themselves.
_STAGES = ("fetch", "split", "pretrain", "extract", "extract_test", "finetune", "evaluate", "report", "export")
_NO_MEMORY = re.compile("RESOURCE_EXHAUSTED|OOM when allocating|Failed to allocate memory")  # of the frameworks
_MEMORY = (
    "there is not enough memory. Close other programs, or set a smaller batch_size, pretrain.image_size or backbone. "
    "Earlier results are as they were."
)
_OTHER = (
    "these libraries differ from the versions that the results were recorded with: {}. Install the recorded ones with "
    "`pip install -e .`. Or record those installed: pin them in pyproject.toml, run `python -m stages check --write`, "
    "then `dvc repro` (or `dvc commit -f` to keep the results as they are)."
)


class UserError(Exception):
    """A mistake the user can mend. Its message says what was expected, what was found, and what to do."""


def say(text: str) -> None:
    """Print one line of what the stage does, at once even where output goes to a file."""
    print(f"  {text}", flush=True)


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> Iterable[T]:
    """Show a bar on a terminal while ``items`` are gone through; stay silent in a log file."""
    return tqdm(items, desc=f"  {what}", total=total, unit=f" {unit}", leave=False, disable=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Turn a UserError into one line on stderr and exit code 1, and Ctrl-C into exit code 130.

    A stage of dvc.yaml does not begin with other versions of its libraries than those its results are recorded with.
    One that DVC started ends with it.
    """
    if "DVC_STAGE" in os.environ:
        follow_parent()
    script = sys.modules["__main__"]
    started = getattr(script.__spec__, "name", None) == f"stages.{name}"
    if started and name in _STAGES and {"-h", "--help"} & set(sys.argv):
        print(script.__doc__)
        raise SystemExit
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths and class names may hold what a terminal cannot show
    try:
        if started and name in _STAGES[1:] and sys.argv[1:]:
            raise UserError(f"expected no arguments, received {' '.join(sys.argv[1:])}. params.yaml says what it does.")
        if found := other_versions(name):
            raise UserError(_OTHER.format(", ".join(found)))
        yield
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        print(f"{name}: {_explain(error, name)}", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as error:
        if not lacks_memory(error):
            raise
        print(f"{name}: {_MEMORY}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print(f"{name}: interrupted. Run it again; `dvc checkout` brings earlier results back.", file=sys.stderr)
        raise SystemExit(130) from None


def lacks_memory(error: Exception) -> bool:
    """Whether memory ran out, of the machine or of a GPU."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def _explain(error: OSError, name: str) -> str:
    """Say which file could not be read or written, why, and what to do."""
    # A write that fails does not say where.
    file = error.filename or (f"data/{name}" if name in _STAGES else "a file could not be written or read")
    what = error.strerror or " ".join(str(error).split())
    remedy = next((words for codes, words in _REMEDIES.items() if error.errno in codes), "See what is there.")
    return f"{os.fsdecode(file)}: {what}. {remedy} Earlier results are as they were; run it again."


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yield an empty working folder that becomes ``folder`` when, and only when, the block succeeds.

    The working folder lies beside ``folder`` (so that the final step is a rename), is named ``.partial-NAME`` and is
    git-ignored. What an earlier, killed run left there is removed first; wherever it was killed, the earlier result or
    the new one is kept.

    Raises:
        UserError: another process is writing this folder.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        yield from _written(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process that writes ``folder``; the system ends the lock with the process, however that ends.

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
                    f"process {number} is writing {folder.name} already. Wait until it ends, or end it: kill {number}"
                ) from None
            if file.exists() and os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                break  # else its holder removed it in between: once more
        stack.callback(file.unlink, missing_ok=True)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _written(folder: Path) -> Iterator[Path]:
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
