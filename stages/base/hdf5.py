"""Refuse HDF5 files on which HDF5 never returns, or crashes.

    python -m stages.base.hdf5 SECONDS FILE [MEMBER]

reads what is linked together in a file, or in a file inside a zip archive: names, attributes, compressed arrays.
``check_hdf5`` runs it as a process, which can be ended.
"""

import io
import os
import resource
import signal
import subprocess
import sys
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import h5py

from stages.base.errors import UserError

SECONDS = 20  # of the processor; the largest files of keras.applications take one
_ROOT = Path(__file__).parents[2]


def check_hdf5(path: Path, member: str = "") -> None:
    """Check that HDF5 can read a file to its end; other damage is left to what reads it.

    Args:
        path: of the file.
        member: name of the file in ``path`` if that is a zip archive.

    Raises:
        UserError: HDF5 does not return, or crashes.
    """
    status = path.stat()
    code = _try_out(path.resolve(), member, (status.st_size, status.st_mtime_ns))
    if code < 0:
        how = f"did not finish in {SECONDS} seconds" if code == -signal.SIGXCPU else "crashed"
        raise UserError(f"{path}: its HDF5 content is damaged: reading it {how}. Copy or save it again.")


@cache
def _try_out(path: Path, member: str, state: tuple[int, int]) -> int:
    """Return the exit code of a process that reads a file; ``state`` changes with the file."""
    command = [sys.executable, "-m", __name__, str(SECONDS), str(path), member]
    return subprocess.run(command, cwd=_ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


def _read(file: io.BytesIO | str) -> None:
    with h5py.File(file) as content:
        items, seen = [content], set[int]()
        while items:
            with suppress(Exception):  # damage that HDF5 reports
                item = items.pop()
                with suppress(Exception):
                    list(item.attrs.items())
                if isinstance(item, h5py.Dataset):
                    _read_array(item)
                    continue
                for name in item:
                    if isinstance(item.get(name, getlink=True), h5py.HardLink):
                        place = h5py.h5o.get_info(item[name].id).addr
                        items += [item[name]] * (place not in seen)
                        seen.add(place)


def _read_array(array: h5py.Dataset) -> None:
    """Read an array, unless it is in one piece, which is read in one step."""
    if array.chunks:
        for chunk in array.iter_chunks():
            array[chunk]
    elif array.dtype.hasobject:
        array[()]


if __name__ == "__main__":
    seconds, file, member = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(Exception):
        _read(io.BytesIO(zipfile.ZipFile(file).read(member)) if member else file)
    os._exit(0)
