"""Run a stage or command: every failure that a user can act on ends in one line."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from stages.base.errors import UserError, lacks_memory
from stages.base.parent import follow_parent
from stages.base.versions import find_other_versions

_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "Free some disk, or raise the limit.",
    (errno.EACCES, errno.EPERM, errno.EROFS): "Change its permissions, or those of its folder.",
    (errno.EISDIR, errno.ENOTDIR, errno.EEXIST): "Something else lies in its place: move it away.",
    (errno.EIO,): "The disk may be failing: check it.",
}
# Scripts that take no arguments, but for the first; the others, commands, read theirs by themselves.
_STAGES = ("fetch", "split", "pretrain", "extract", "extract_test", "finetune", "evaluate", "report", "export")
_MEMORY = (
    "there is not enough memory. Close other programs, or set a smaller batch_size, pretrain.image_size or backbone. "
    "Earlier results are as they were."
)
_OTHER = (
    "these libraries differ from the versions that the results were recorded with: {}. Install the recorded ones with "
    "`pip install -e .`. Or record those installed: pin them in pyproject.toml, run `python -m stages check --write`, "
    "then `dvc repro` (or `dvc commit -f` to keep the results as they are)."
)


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
        if found := find_other_versions(name):
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


def _explain(error: OSError, name: str) -> str:
    """Say which file could not be read or written, why, and what to do."""
    # A write that fails does not say where.
    file = error.filename or (f"data/{name}" if name in _STAGES else "a file could not be written or read")
    what = error.strerror or " ".join(str(error).split())
    remedy = next((words for codes, words in _REMEDIES.items() if error.errno in codes), "See what is there.")
    return f"{os.fsdecode(file)}: {what}. {remedy} Earlier results are as they were; run it again."
