"""Run git in a process of its own."""

import subprocess

from stages.base.errors import UserError


def run_git(*arguments: str) -> str:
    """Return the output of a git command, such as ``run_git("rev-parse", "HEAD")``.

    Raises:
        UserError: the command fails, for example outside a repository, or git is not installed.
    """
    try:
        said = subprocess.run(("git", *arguments), capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        raise UserError("git is not installed. Install it.") from None
    if said.returncode:
        raise UserError(f"`git {' '.join(arguments)}` failed: {said.stderr.strip()}")
    return said.stdout.strip()
