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

from ruamel.yaml import YAML

from stages.compute.backend import BACKENDS
from stages.pipeline.libraries import libraries, unknown, unrecorded, write_versions

# Of stages/base/params.py: the second argument is what dvc.yaml declares, of read_values with each key after the third.
READERS = ("read_section", "read_values")

_BACKEND_KEY = "compute.backend"
_BACKEND = f"${{{_BACKEND_KEY}}}"  # as dvc.yaml writes the value of that key
_OF_BACKEND = re.compile(rf"on_({'|'.join(BACKENDS)})\.py$")

# String constants of a script that are paths of the project.
_PATH = re.compile(r"(data|stages|recipes|tests)/[\w./-]+|params\.yaml")
_PARAMS_FILE, _PIPELINE_FILE, _VERSIONS_FILE = "params.yaml", "dvc.yaml", "stages/versions.yaml"
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
        if not (root / _script(name)).is_file():
            found.append(f"dvc.yaml: {name}: there is no {_script(name)}.")
            continue
        uses = _uses(root, name)
        found += [
            f"dvc.yaml: {name}: imports {library}, and stages/pipeline/libraries.py does not say whether bytes depend "
            "on it. Add it there, and if they do, pin it in pyproject.toml."
            for library in sorted(uses.unknown)
        ]
        deps, params, listed = _declared(stage)
        declared = {dep for dep in deps if not dep.endswith(".py") and "$" not in dep}
        outs = [out if isinstance(out, str) else next(iter(out)) for out in _outs(stage)]
        found += _differences(name, "deps", "imports", uses.code, {dep for dep in deps if dep.endswith(".py")})
        inputs = {path for path in uses.paths - {_PARAMS_FILE, _VERSIONS_FILE} - _SOURCES if not _within(path, name)}
        wanted = declared | {param for param in params if "/" in param}
        found += _differences(name, "deps", "opens", inputs, {_matching(dep, inputs) for dep in wanted})
        found += _differences(name, "params", "reads", uses.params, {param for param in params if "/" not in param})
        found += _differences(name, _VERSIONS_FILE, "imports", uses.libraries, listed)
        found += [
            f"dvc.yaml: {name}: writes {out}, which is not in data/{name}." for out in outs if not _within(out, name)
        ]
    return found + unrecorded(root / _VERSIONS_FILE, root / "pyproject.toml")


def write(root: Path) -> None:
    """Write what stages import into dvc.yaml, and the versions that pyproject.toml pins into ``versions.yaml``.

    Of dvc.yaml nothing else changes.
    """
    yaml = YAML()
    yaml.width = 1000
    yaml.indent(mapping=2, sequence=4, offset=2)
    pipeline = yaml.load(root / _PIPELINE_FILE)
    for name, entry in pipeline["stages"].items():
        if not (root / _script(name)).is_file():
            continue  # ``problems`` says so
        stage, uses = entry.get("do", entry), _uses(root, name)
        stage["deps"] = [dep for dep in stage.get("deps", []) if not dep.endswith(".py")] + sorted(uses.code)
        files = [param for param in stage.get("params", []) if not isinstance(param, str)]
        params = sorted(uses.params) + [param for param in files if _VERSIONS_FILE not in param]
        if uses.libraries:
            params.append({_VERSIONS_FILE: sorted(uses.libraries)})
        stage["params"] = params
        if not params:
            del stage["params"]
    yaml.dump(pipeline, root / _PIPELINE_FILE)
    write_versions(root / _VERSIONS_FILE, root / "pyproject.toml")


class _Uses(NamedTuple):
    """What a stage uses, as dvc.yaml declares it.

    Attributes:
        code: Python files of the project.
        libraries: that have a part in its bytes.
        unknown: libraries that may have one.
        paths: of the project that its code names.
        params: sections and keys of params.yaml.
    """

    code: set[str]
    libraries: set[str]
    unknown: set[str]
    paths: set[str]
    params: set[str]


def _uses(root: Path, stage: str) -> _Uses:
    code = closure(root, _script(stage))
    said = [_read((root / file).read_text(encoding="utf-8")) for file in code]
    params = {param for one in said for param in one.sections}
    imports = {name for one in said for name in one.imports}
    # Code and library of a backend: that of the chosen one; TensorFlow, where the stage computes with nothing else.
    backend = _BACKEND if _BACKEND_KEY in params else BACKENDS[0]
    return _Uses(
        {_OF_BACKEND.sub(f"on_{backend}.py", file) for file in code},
        {backend if name in BACKENDS else name for name in libraries(imports)},
        unknown(imports),
        {path for one in said for path in one.opened},
        params,
    )


def _script(stage: str) -> str:
    return f"stages/{stage}.py"


def _declared(stage: dict[str, Any]) -> tuple[set[str], set[str], set[str]]:
    """Return deps, params (files among them) and libraries that a stage of dvc.yaml declares."""
    params, libraries = set(), set()
    for param in stage.get("params", []):
        if isinstance(param, str):
            params.add(param)
        elif _VERSIONS_FILE in param:
            libraries |= set(param[_VERSIONS_FILE])
        else:
            params |= param.keys()
    return set(stage.get("deps", [])), params, libraries


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
            name = ast.literal_eval(node.args[1])
            yield from ([f"{name}.{ast.literal_eval(key)}" for key in node.args[3:]] or [name])


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
