"""Resume an interrupted run from what it left in a folder outside its outs, which DVC deletes before each run.

What it left is discarded if a param, the code, an input, a library or a device has changed since.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.base.files import hash_file
from stages.base.terminal import say

STAGES = Path(__file__).resolve().parents[1]
_MARK = "run.json"


def find_kept(folder: Path) -> Path:
    """Return the folder beside an output folder for what an interrupted run has written."""
    return folder.with_name(f".resume-{folder.name}")


@contextmanager
def resume_folder(folder: Path, mark: str) -> Iterator[Path | None]:
    """Yield ``folder`` for what a later run can resume from; it is removed when the block succeeds.

    Resuming is a convenience: if the folder cannot be written, None is yielded, and a line says so.

    Args:
        folder: emptied, unless it is of a run with the same mark.
        mark: from ``fingerprint``.
    """
    file = folder / _MARK
    try:
        if not (file.is_file() and file.read_bytes() == mark.encode()):
            if folder.is_dir() and any(path.name != _MARK for path in folder.iterdir()):
                say("starting over: params, code, inputs or libraries differ from those of the interrupted run")
            if folder.is_dir():
                shutil.rmtree(folder)
            folder.unlink(missing_ok=True)
            folder.mkdir(parents=True)
            file.write_bytes(mark.encode())
    except OSError as error:
        say(f"cannot write checkpoints to {folder} ({error.strerror}): an interrupted run would start over")
        yield None
        return
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def fingerprint(params: Any, inputs: Sequence[Path], libraries: Mapping[str, str], devices: Sequence[str]) -> str:
    """Return what a run's results depend on, as text, with hashes of the project's code.

    Args:
        params: plain values.
        inputs: files and folders that it reads.
        libraries: their versions.
        devices: what computes, in words.
    """
    code = sorted(STAGES.rglob("*.py"))
    read = [file for path in inputs for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    content = {
        "params": params,
        "code": {str(file.relative_to(STAGES)): hash_file(file, "sha256") for file in code},
        "inputs": {str(file): hash_file(file, "sha256") for file in read if file.is_file()},
        "libraries": dict(libraries),
        "devices": list(devices),
    }
    return json.dumps(content, indent=1, sort_keys=True)
