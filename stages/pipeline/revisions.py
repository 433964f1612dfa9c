"""Read the results of other revisions without checking them out: dvc.lock with git, files from DVC's cache by hash."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base.dvc_command import find_cached
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


def open_workspace(lock: Path) -> Revision:
    """Return the workspace, edits included.

    Args:
        lock: dvc.lock.
    """
    return Revision(WORKSPACE, run_git("rev-parse", "HEAD"), _require(read_lock(lock), WORKSPACE))


def open_revision(name: str, lock: Path) -> Revision:
    """Return a revision.

    Args:
        name: a branch, tag, commit or experiment.
        lock: dvc.lock.

    Raises:
        UserError: there is no such revision, several have this name, or nothing ran there.
    """
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


def locate(revision: Revision, path: Path, cache: Path) -> tuple[Path | None, bool]:
    """Return where the cache holds a file that a stage wrote, and whether it is known that none wrote it.

    Args:
        revision: where it ran.
        path: data/STAGE/FILE.
        cache: as ``stages.base.dvc_command.find_cache`` returns it.

    Returns:
        The file and False; or None and whether it never was: otherwise it is missing from the cache.
    """
    outs = {place: out.get("md5", "") for stage in revision.lock.values() for place, out in stage.outs.items()}
    md5 = outs.get(str(path))
    if md5 is None:
        if str(path.parent) not in outs:
            return None, True
        listing = find_cached(cache, outs[str(path.parent)])
        if not listing.is_file():
            return None, False
        entries = json.loads(listing.read_bytes())
        md5 = next((entry["md5"] for entry in entries if entry["relpath"] == path.name), None)
        if md5 is None:
            return None, True
    file = find_cached(cache, md5)
    return (file, False) if file.is_file() else (None, False)


def describe_fetch(revision: Revision, paths: Sequence[Path]) -> str:
    """Return the command that brings files of a revision into the cache."""
    if revision.experiment:
        return f"dvc exp pull origin {revision.experiment}"
    scope = "" if revision.name == WORKSPACE else "--all-commits "
    return f"dvc fetch {scope}{' '.join(map(str, paths))}"


def find_stale(lock: Lock, target: str) -> Iterator[str]:
    """Yield a line for each stage up to ``target`` that ran on other files than dvc.lock now records as outputs.

    That is so after an interrupted `dvc repro`, or a merge of two dvc.lock files.

    Args:
        lock: the stages.
        target: the last stage of interest.
    """
    written = {place: (name, out.get("md5")) for name, stage in lock.items() for place, out in stage.outs.items()}
    waiting, seen = [target], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in lock:
            continue
        seen.add(name)
        for place, dep in lock[name].deps.items():
            source, md5 = written.get(place, ("", dep.get("md5")))
            waiting.append(source)
            if md5 != dep.get("md5"):
                yield f"{name} ran before {source} last wrote {place}"


def list_changes(revisions: Sequence[Revision], stages: Sequence[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return what differs between revisions: params, libraries and data, each with its values; and modules of the code.

    Args:
        revisions: two or more.
        stages: whose inputs count.
    """
    found = [_inputs(revision.lock, stages) for revision in revisions]
    names = dict.fromkeys(name for inputs in found for name in inputs)
    rows = [(name, *(inputs.get(name, "-") for inputs in found)) for name in names]
    changed = [row for row in rows if len(set(row[1:])) > 1]
    code = [row[0] for row in changed if row[0].startswith("stages/")]
    return [row for row in changed if row[0] not in code], code


def _inputs(lock: Lock, stages: Sequence[str]) -> dict[str, str]:
    """Return params, by their full names, and the hashes of code and data, as far as no stage but fetch wrote them."""
    inputs: dict[str, str] = {}
    prefixes = {"params.yaml": "", "stages/versions.yaml": "library "}
    written = {place for name, stage in lock.items() for place in stage.outs if not name.startswith("fetch@")}
    for name, stage in lock.items():
        if name.partition("@")[0] in stages:
            for file, values in stage.params.items():
                inputs |= _flatten(values, prefixes.get(file, f"{file} "))
            for place, dep in stage.deps.items():
                if not {place, str(Path(place).parent)} & written:
                    inputs[place] = dep.get("md5", "")[:7]
    return inputs


def _flatten(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value).replace("'", "")
