"""Checkpoints: resume an interrupted training, with the same final bytes as without the interruption."""

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.arrays import open_arrays
from stages.base.resume import fingerprint, resume_folder
from stages.base.terminal import say
from stages.compute.runtime import backend_name, list_devices

# A checkpoint is written when the last one is this old, in seconds, ...
SECONDS = 2.0
# ... and this many times as old as it took to write: large networks spend at most a twentieth of the time on it.
SHARE = 20


def checkpoint_folder(folder: Path, params: Any, inputs: Sequence[Path]) -> AbstractContextManager[Path | None]:
    """Provide ``folder`` for the checkpoints of this run; see ``stages.base.resume.resume_folder``.

    Args:
        folder: emptied, unless its checkpoints are of this run.
        params: that the run depends on, as plain values.
        inputs: files and folders that it reads.
    """
    libraries = {
        **{name: sys.modules[name].__version__ for name in ("keras", "numpy", "scipy", backend_name())},
        "scikit-learn": version("scikit-learn"),  # imported later, if at all
    }
    return resume_folder(folder, fingerprint(params, inputs, libraries, list_devices()))


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
