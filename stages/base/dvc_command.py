"""Run DVC in a process of its own."""

import subprocess
import sys

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
