"""Copies of the project as git and DVC repositories of their own, and commands run in them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.compute.backend import ENVIRONMENT
from stages.schema.split import Split
from tests.conftest import PROJECT

# The whole graph on real data, as small as it can be.
SMALL = {
    "split": {"source": "data/own/digits", "train": 3, "val": 2, "test": 5},
    "pretrain": {"epochs": 1},
    "extract": {"views": 1},
    "finetune": {"head": {"epochs": 2}, "thawed": {"epochs": 2}},
    "export": {"formats": ["onnx"], "parity_images": 10},
}


def run(*command: str, cwd: Path, fails: bool | None = False, **environment: str) -> str:
    """Run a command as a user would type it in ``cwd``; return what it printed.

    It must succeed, or fail where ``fails`` is True; with None either is right.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    set_here = (*ENVIRONMENT, "KERAS_BACKEND")  # by what this process computes
    own = {name: value for name, value in os.environ.items() if name not in set_here}
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**own, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert fails in (None, result.returncode != 0), f"{' '.join(command)} exited {result.returncode}:\n{result.stdout}"
    assert "ResourceWarning" not in result.stdout, result.stdout  # raised where a file is forgotten, it ends no process
    return result.stdout


def ran(output: str) -> list[str]:
    """Return the stages that ``dvc repro`` ran for its output, in order."""
    return re.findall(r"Running stage '([^']+)'", output)


def copy_project(folder: Path) -> Path:
    """Copy the project as git would hold it, edits included, and make it a git repository with one commit.

    params.yaml is the default recipe's, whatever experiment it holds at the moment.
    """
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=PROJECT)
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    shutil.copy(folder / "recipes" / "default.yaml", folder / "params.yaml")
    init_git(folder)
    commit(folder, "start")
    return folder


def init_git(folder: Path) -> None:
    """Make ``folder`` a git repository whose commits have an author."""
    run("git", "init", "-q", "-b", "main", cwd=folder)
    name_author(folder)


def name_author(folder: Path) -> None:
    """Give commits in ``folder`` an author."""
    run("git", "config", "user.name", "A Tester", cwd=folder)
    run("git", "config", "user.email", "tester@example.org", cwd=folder)


def commit(folder: Path, message: str) -> None:
    """Commit everything that git does not ignore."""
    run("git", "add", "--all", cwd=folder)
    run("git", "commit", "-q", "--allow-empty", "-m", message, cwd=folder)


def clone(hub: Path, there: Path, branch: str = "main") -> Path:
    """Clone the repository ``hub`` and give commits an author."""
    run("git", "clone", "-q", "-b", branch, str(hub), str(there), cwd=hub.parent)
    name_author(there)
    return there


def set_params(folder: Path, changes: dict[str, object]) -> None:
    """Change keys of params.yaml, given as nested mappings; everything else stays, comments too."""
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")

    def override(values: dict[str, object], changes: dict[str, object]) -> None:
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(values[key], dict):
                override(values[key], value)
            else:
                values[key] = value

    override(params, changes)
    yaml.dump(params, folder / "params.yaml")


def bring(here: Path, path: Path, name: str | None = None) -> str:
    """Copy images or weights into the project's data/own/ and return their path there."""
    there = here / "data" / "own" / (name or path.name)
    there.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, there)
    else:
        shutil.copy(path, there)
    run("chmod", "-R", "u+w", str(there), cwd=here)
    return there.relative_to(here).as_posix()


def repro(here: Path) -> dict[str, Any]:
    """Run the experiment up to its scores and return them."""
    run("dvc", "repro", "evaluate", cwd=here)
    return scores(here)


def scores(here: Path) -> dict[str, Any]:
    """Return all that evaluate measured on the test images."""
    found: dict[str, Any] = json.loads((here / "data" / "evaluate" / "scores.json").read_text())
    return found


def split_section(source: Path, **changes: object) -> Split:
    """Return the split section of the default recipe for another data set, with changes."""
    section = YAML().load(PROJECT / "recipes" / "default.yaml")["split"]
    return Split(**{**section, "source": str(source), **changes})
