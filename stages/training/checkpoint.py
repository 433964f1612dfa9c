"""Checkpoints: resume an interrupted training, with the same final bytes as without the interruption.

A stage stores them in a folder outside its outs, which DVC deletes before each run. They are discarded if a param, the
code, an input or a library has changed since.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.arrays import open_arrays
from stages.base.files import hash_file
from stages.base.terminal import say
from stages.compute.runtime import backend_name, list_devices

# A checkpoint is written when the last one is this old, in seconds, ...
SECONDS = 2.0
# ... and this many times as old as it took to write: large networks spend at most a twentieth of the time on it.
SHARE = 20

STAGES = Path(__file__).resolve().parents[1]


@contextmanager
def checkpoint_folder(folder: Path, params: Any, inputs: Sequence[Path]) -> Iterator[Path | None]:
    """Yield ``folder`` for the checkpoints of this run; it is removed when the block succeeds.

    Checkpoints are a convenience: if the folder cannot be written, None is yielded, and a line says so.

    Args:
        folder: emptied, unless its checkpoints are of this run.
        params: that the run depends on, as plain values.
        inputs: files and folders that it reads.
    """
    mark, file = fingerprint(params, inputs).encode(), folder / "run.json"
    try:
        if not (file.is_file() and file.read_bytes() == mark):
            if list(folder.glob("*.npz")):
                say("starting over: params, code, inputs or libraries differ from those of the interrupted run")
            if folder.is_dir():
                shutil.rmtree(folder)
            folder.unlink(missing_ok=True)
            folder.mkdir(parents=True)
            file.write_bytes(mark)
    except OSError as error:
        say(f"cannot write checkpoints to {folder} ({error.strerror}): an interrupted run would start over")
        yield None
        return
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def fingerprint(params: Any, inputs: Sequence[Path]) -> str:
    """Return what a run's results depend on, as text: params, files that it reads, code, libraries and devices.

    Args:
        params: plain values.
        inputs: files and folders.
    """
    code = {
        Path(file).resolve()
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) and STAGES in Path(file).resolve().parents
    }
    read = [file for path in inputs for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    content = {
        "params": params,
        "code": {str(file.relative_to(STAGES)): hash_file(file, "sha256") for file in sorted(code)},
        "inputs": {str(file): hash_file(file, "sha256") for file in read if file.is_file()},
        "libraries": {
            **{name: sys.modules[name].__version__ for name in ("keras", "numpy", "scipy", backend_name())},
            "scikit-learn": version("scikit-learn"),  # imported later, if at all
        },
        "devices": list_devices(),
    }
    return json.dumps(content, indent=1, sort_keys=True)


class Checkpoint:
    """The latest checkpoint of one phase of a training, in one file that is never incomplete.

    Args:
        folder: from ``checkpoint_folder``.
        phase: name.
    """

    def __init__(self, folder: Path, phase: str) -> None:
        self._file = folder / f"{phase}.npz"
        self._next = 0.0
        self._writable = True

    def read(self) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]] | None:
        """Return progress and arrays as they were written; None if there are none that can be read."""
        try:
            with open_arrays(self._file) as stored:
                progress = json.loads(str(stored["progress"]))
                arrays = {
                    name: [stored[f"{name}/{place}"] for place in range(count)]
                    for name, count in progress.pop("counts").items()
                }
        except FileNotFoundError:
            return None
        except Exception:  # what NumPy raises on a damaged file depends on the damage: anything is possible
            say(f"{self._file} is damaged: this phase starts over")
            return None
        return progress, arrays

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old enough to write another."""
        return time.monotonic() >= self._next

    def write(self, progress: dict[str, Any], arrays: dict[str, list[np.ndarray]]) -> None:
        """Replace the checkpoint.

        Args:
            progress: plain values.
            arrays: lists of arrays by name.
        """
        started = time.monotonic()
        counts = {name: len(values) for name, values in arrays.items()}
        named = {f"{name}/{place}": value for name, values in arrays.items() for place, value in enumerate(values)}
        named["progress"] = np.array(json.dumps({**progress, "counts": counts}))
        partial = self._file.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **named)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._file)
        except OSError as error:  # the training continues: checkpoints are a convenience
            with suppress(OSError):
                partial.unlink()
            if self._writable:
                say(f"cannot write a checkpoint ({error.strerror}): an interrupted run would repeat epochs")
            self._writable = False
        ended = time.monotonic()
        self._next = ended + max(SECONDS, SHARE * (ended - started))
