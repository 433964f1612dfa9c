"""Run DVC in a process of its own."""

import subprocess
import sys
from pathlib import Path

from stages.base.errors import UserError

DVC = (sys.executable, "-m", "dvc")


def run_dvc(*arguments: str) -> str:
    """Return the output of a DVC command, such as ``run_dvc("params", "diff")``.

    Raises:
        UserError: the command fails, for example outside a repository.
    """
    said = subprocess.run((*DVC, *arguments), capture_output=True, text=True, check=False)
    if said.returncode:
        raise UserError(f"`dvc {' '.join(arguments)}` failed:\n{said.stderr}")
    return said.stdout


def find_cache() -> Path:
    """Return the folder of DVC's cache that holds files by their MD5."""
    return Path(run_dvc("cache", "dir").strip()) / "files" / "md5"


def find_cached(cache: Path, md5: str) -> Path:
    """Return the path of the file with this MD5 in the folder from ``find_cache``."""
    return cache / md5[:2] / md5[2:]
