"""What dvc.lock records of revisions: files that DVC's cache holds by hash, what differs, and what does not fit."""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.base.dvc_command import find_cached
from stages.base.dvc_lock import Lock
from stages.base.errors import UserError
from stages.pipeline.revisions import WORKSPACE, Revision

Files = dict[tuple[str, Path], Path]  # places in the cache, by a revision's name and the path there


def locate_files(
    revisions: Sequence[Revision], needed: Collection[Path], wanted: Collection[Path], cache: Path
) -> tuple[Files, list[str]]:
    """Return the files that DVC's cache holds, and a line for each revision of which it lacks some.

    Args:
        revisions: where stages wrote them.
        needed: data/STAGE/FILE; a revision that has none because its stages wrote none is no error.
        wanted: others, likewise.
        cache: as ``stages.base.dvc_command.find_cache`` returns it.

    Raises:
        UserError: a needed file is missing.
    """
    files, lines, missing = Files(), [], set[Path]()
    for revision in revisions:
        lacking = []
        for path in (*needed, *wanted):
            file, never = _locate(revision, path, cache)
            if file:
                files[revision.name, path] = file
            elif not never:
                lacking.append(path)
        if lacking:
            names = ", ".join(map(str, lacking))
            lines.append(f"{revision}: DVC's cache lacks {names}. To fetch: {_describe_fetch(revision, lacking)}")
        missing |= set(needed) & set(lacking)
    if missing:
        raise UserError("\n".join(lines))
    return files, lines


def _locate(revision: Revision, path: Path, cache: Path) -> tuple[Path | None, bool]:
    """Return where the cache holds a file; if it does not, None and whether the file was never written."""
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


def _describe_fetch(revision: Revision, paths: Sequence[Path]) -> str:
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


def find_calibrated(revisions: Sequence[Revision]) -> list[str]:
    """Return the names of the revisions whose models finetune calibrated on the validation images."""
    params = {one.name: one.lock["finetune"].params for one in revisions if "finetune" in one.lock}
    chosen = {name: files.get("params.yaml", {}).get("finetune", {}) for name, files in params.items()}
    return [name for name, finetune in chosen.items() if finetune.get("calibrate", "none") != "none"]


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
