"""Find a revision by its name, and read its dvc.lock without checking it out."""

import re
from dataclasses import dataclass
from pathlib import Path

from stages.base.dvc_lock import Lock, parse_lock, read_lock
from stages.base.errors import UserError
from stages.base.git_command import run_git

WORKSPACE = "workspace"


@dataclass(frozen=True)
class Revision:
    """A commit, or the workspace, and what ran there.

    Attributes:
        name: as given: a branch, tag, commit or experiment; or "workspace".
        commit: its hash; of the workspace, the one that it is based on.
        lock: its dvc.lock.
        experiment: its name, if it is a DVC experiment.
    """

    name: str
    commit: str
    lock: Lock
    experiment: str = ""

    def __str__(self) -> str:
        """Name and abbreviated hash."""
        return self.name if self.commit.startswith(self.name) else f"{self.name} ({self.commit[:7]})"


def open_revision(name: str, lock: Path) -> Revision:
    """Return a revision.

    Args:
        name: a branch, tag, commit or experiment; or "workspace", with its edits.
        lock: dvc.lock.

    Raises:
        UserError: there is no such revision, several have this name, or nothing ran there.
    """
    if name == WORKSPACE:
        return Revision(name, run_git("rev-parse", "HEAD"), _require(read_lock(lock), name))
    commit, experiment = find_commit(name)
    try:
        text = run_git("show", f"{commit}:./{lock}")
    except UserError:
        text = ""
    return Revision(name, commit, _require(parse_lock(text, f"{lock} of {name}"), name), experiment)


def _require(lock: Lock, name: str) -> Lock:
    if not lock:
        raise UserError(f"{name}: expected results of `dvc repro`, and there is no dvc.lock. Run `dvc repro` there.")
    return lock


def find_commit(name: str) -> tuple[str, str]:
    """Return the hash of a revision, and the name of the experiment if it is one; see ``open_revision``.

    DVC stores the experiment NAME on commit BASE as the git reference refs/exps/BA/SE.../NAME. Of several with this
    name, the one on HEAD is meant, as in `dvc exp apply`.
    """
    listed = run_git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    experiments = re.findall(r"^(\w+) refs/exps/(\w\w)/(\w{38,})/(.+)$", listed, re.MULTILINE)
    named = {f"{start}{rest}": commit for commit, start, rest, known in experiments if known == name}
    if len(named) > 1 and (head := run_git("rev-parse", "HEAD")) in named:
        named = {head: named[head]}
    try:
        found = {run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")}
    except UserError:
        found = set()
    found |= set(named.values())
    if len(found) > 1:
        several = ", ".join(sorted(commit[:7] for commit in found))
        raise UserError(f"{name}: expected one commit; several have that name: {several}. Use one of these.")
    if not found:
        raise UserError(
            f"{name}: expected a branch, tag, commit or experiment. `git branch -a` and `dvc exp list -A` list them; "
            f"`git fetch` and `dvc exp pull` bring those of others."
        )
    commit = found.pop()
    return commit, next((known for at, *_, known in experiments if at == commit), "")
