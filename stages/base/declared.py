"""Hold dvc.yaml against the code: what each stage's script imports, opens and reads must be what it declares.

DVC reruns a stage when a declared dependency changes and cannot know of others: an import that is not declared gives
"didn't change, skipping" and a stale result. One declared in vain reruns what nothing changed for.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

READERS = ("read_section", "read_key")  # of stages/base/params.py: their second argument is what dvc.yaml declares

# String constants of a script that are paths of the project.
_PATH = re.compile(r"(data|stages|recipes|tests)/[\w./-]+|params\.yaml")
_PARAMS_FILE = "params.yaml"
# Where a source lies that params.yaml names, and dvc.yaml declares as ${section.source}.
_SOURCES = {"data/fetch", "data/own"}


def problems(root: Path, pipeline: dict[str, Any]) -> list[str]:
    """Return one sentence for each difference between ``pipeline`` and the scripts below ``root``.

    Args:
        root: the project's folder.
        pipeline: the content of dvc.yaml.
    """
    found = []
    for name, entry in pipeline["stages"].items():
        stage = entry.get("do", entry)
        script = f"stages/{name}.py"
        if not (root / script).is_file():
            found.append(f"dvc.yaml: {name}: there is no {script}.")
            continue
        code = closure(root, script)
        said = [_read((root / file).read_text(encoding="utf-8")) for file in code]
        sections = {section for one in said for section in one.sections}
        paths = {path for one in said for path in one.opened}
        declared = [dep for dep in stage.get("deps", []) if "$" not in dep]
        outs = [out if isinstance(out, str) else next(iter(out)) for out in _outs(stage)]
        params = [param if isinstance(param, str) else next(iter(param)) for param in stage.get("params", [])]
        found += _differences(name, "deps", "imports", code, {dep for dep in declared if dep.endswith(".py")})
        inputs = {path for path in paths - {_PARAMS_FILE} - _SOURCES if not _within(path, name)}
        wanted = {dep for dep in declared if not dep.endswith(".py")} | {param for param in params if "/" in param}
        found += _differences(name, "deps", "opens", inputs, {_matching(dep, inputs) for dep in wanted})
        found += _differences(name, "params", "reads", sections, {param for param in params if "/" not in param})
        found += [
            f"dvc.yaml: {name}: writes {out}, which is not in data/{name}." for out in outs if not _within(out, name)
        ]
    return found


def closure(root: Path, script: str) -> set[str]:
    """Return the project's Python files that ``script`` needs: itself and what it imports, directly or not."""
    found: set[str] = set()
    queue = [script]
    while queue:
        path = queue.pop()
        if path in found:
            continue
        found.add(path)
        for module in _read((root / path).read_text(encoding="utf-8")).imports:
            parts = module.split(".")
            candidates = ["/".join(parts) + ".py"] + [
                "/".join(parts[:n]) + "/__init__.py" for n in range(1, len(parts) + 1)
            ]
            queue += [candidate for candidate in candidates if (root / candidate).is_file()]
    return found


class _Said(NamedTuple):
    """What a Python file says of what it needs."""

    imports: tuple[str, ...]
    opened: tuple[str, ...]
    sections: tuple[str, ...]


@cache  # most files belong to several stages
def _read(text: str) -> _Said:
    tree = ast.parse(text)
    return _Said(tuple(_imports(tree)), tuple(_opened(tree)), tuple(_sections(tree)))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _opened(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _PATH.fullmatch(node.value):
            yield node.value


def _sections(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS:
            name = node.args[1]
            yield str(name.value) if isinstance(name, ast.Constant) else ast.unparse(name)


def _outs(stage: dict[str, Any]) -> list[Any]:
    return [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]


def _within(out: str, name: str) -> bool:
    return out == f"data/{name}" or out.startswith(f"data/{name}/")


def _matching(declared: str, opened: set[str]) -> str:
    """A script that opens a folder may declare the files in it that it uses."""
    return next((path for path in opened if declared.startswith(f"{path}/")), declared)


def _differences(name: str, key: str, verb: str, used: set[str], declared: set[str]) -> list[str]:
    missing = [f"dvc.yaml: {name}: {verb} {item}, which its {key} lack. Add it." for item in sorted(used - declared)]
    vain = [f"dvc.yaml: {name}: its {key} list {item}, which it does not use." for item in sorted(declared - used)]
    return missing + vain
