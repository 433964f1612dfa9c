"""Ask DVC."""

import subprocess
import sys

from stages.base.errors import UserError

DVC = (sys.executable, "-m", "dvc")


def run_dvc(*arguments: str) -> str:
    """Return what a DVC command prints.

    Raises:
        UserError: it fails, as outside of a repository.
    """
    said = subprocess.run((*DVC, *arguments), capture_output=True, text=True, check=False)
    if said.returncode:
        raise UserError(f"`dvc {' '.join(arguments)}` failed:\n{said.stderr}")
    return said.stdout
