"""Run a stage or command: every failure that a user can act on ends in one line."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import NoReturn

from stages.base.errors import UserError, lacks_memory, summarize
from stages.base.parent import follow_parent
from stages.base.versions import find_other_versions

_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "Free some disk, or raise the limit.",
    (errno.EACCES, errno.EPERM, errno.EROFS): "Change its permissions, or those of its folder.",
    (errno.EISDIR, errno.ENOTDIR, errno.EEXIST): "Something else is in its place: move it away.",
    (errno.EIO,): "The disk may be failing: check it.",
}
# Of these only fetch takes arguments; the commands parse their own.
_STAGES = ("fetch", "split", "pretrain", "extract", "extract_test", "finetune", "evaluate", "report", "export")
_OPTIONS = dict.fromkeys(("split", "extract", "extract_test"), "--ray")  # see stages/cluster
_MEMORY = (
    "not enough memory. Close other programs, or set a smaller batch_size, pretrain.image_size or backbone. "
    "Earlier results are unchanged."
)
_OTHER = (
    "the results were recorded with other versions of these libraries: {}. Install the recorded versions with "
    "`pip install -e .`. Or record the installed ones: pin them in pyproject.toml, run `python -m stages check "
    "--write`, then `dvc repro` (or `dvc commit -f` to keep the results as they are)."
)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Run a stage or command; print an expected error as one line and exit with code 1, or 130 after Ctrl-C.

    A stage refuses to start if the versions of its libraries differ from those its results were recorded with. If DVC
    started it, it ends with DVC.

    Args:
        name: of the stage or command.
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
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack characters of paths and class names
    try:
        if started and name in _STAGES[1:] and (unknown := [one for one in sys.argv[1:] if one != _OPTIONS.get(name)]):
            only = f"no arguments but {_OPTIONS[name]}" if name in _OPTIONS else "no arguments"
            raise UserError(f"expected {only}, received {' '.join(unknown)}. params.yaml says what it does.")
        if found := find_other_versions(name):
            raise UserError(_OTHER.format(", ".join(found)))
        yield
    except UserError as error:
        _end(f"{name}: {error}")
    except BrokenPipeError:  # the reader has closed the pipe, like `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        _end(f"{name}: {_explain(error, name)}")
    except Exception as error:
        if not lacks_memory(error):
            raise
        _end(f"{name}: {_MEMORY}")
    except KeyboardInterrupt:
        _end(f"{name}: interrupted. Run it again; `dvc checkout` restores earlier results.", 130)


def _end(message: str, code: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(code) from None


def _explain(error: OSError, name: str) -> str:
    """Say which file could not be read or written, why, and what to do."""
    # An error of `write` does not name its file.
    file = error.filename or (f"data/{name}" if name in _STAGES else "a file could not be written or read")
    what = error.strerror or summarize(error)
    remedy = next((words for codes, words in _REMEDIES.items() if error.errno in codes), "Check it.")
    return f"{os.fsdecode(file)}: {what}. {remedy} Earlier results are unchanged; run it again."
