"""Compare dvc.yaml with the code: each stage must declare exactly what its script imports, opens and reads.

DVC reruns a stage when a declared dependency changes. A missing dependency gives "didn't change, skipping" and a stale
result; one that is not used causes needless reruns.
"""

import io
import re
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from stages.base.files import replace_file
from stages.compute.backend import BACKENDS
from stages.pipeline.libraries import find_libraries, find_unclassified, find_unrecorded, write_versions
from stages.pipeline.source_code import SourceCode, read_source_code

_BACKEND_KEY = "compute.backend"
_BACKEND = f"${{{_BACKEND_KEY}}}"  # its value, as dvc.yaml writes it
_OF_BACKEND = re.compile(rf"on_({'|'.join(BACKENDS)})\.py$")

_PARAMS_FILE, _PIPELINE_FILE, _VERSIONS_FILE = "params.yaml", "dvc.yaml", "stages/versions.yaml"
# Folders of the sources that params.yaml names; dvc.yaml declares them as ${section.source}.
_SOURCES = {"data/fetch", "data/own"}


def find_problems(root: Path, pipeline: dict[str, Any]) -> list[str]:
    """Return a sentence for each difference between dvc.yaml and the code.

    Args:
        root: the project's folder.
        pipeline: the content of dvc.yaml.
    """
    found, unclear = [], set()
    for name, entry in pipeline["stages"].items():
        stage = entry.get("do", entry)
        if not (root / _script(name)).is_file():
            found.append(f"dvc.yaml: {name}: there is no {_script(name)}.")
            continue
        declared = _read_declared(stage)
        uses = _find_uses(root, name, declared.files)
        found += [
            f"dvc.yaml: {name}: imports {library}, and stages/pipeline/libraries.py does not say whether bytes depend "
            "on it. Add it there, and if they do, pin it in pyproject.toml."
            for library in sorted(uses.unclassified)
        ]
        unclear |= uses.unclear
        inputs = {path for path in uses.paths - _SOURCES if not _within(path, name)}
        data = {_match(dep, inputs) for dep in declared.data | declared.files if "$" not in dep}
        found += _compare(name, "deps", "imports", uses.code, {path for path in declared.code if path.endswith(".py")})
        found += _compare(name, "deps", "opens", uses.files, {dep for dep in declared.code if not dep.endswith(".py")})
        found += _compare(name, "deps", "opens", inputs, data)
        found += _compare(name, "params", "reads", uses.params, declared.params)
        found += _compare(name, _VERSIONS_FILE, "imports", uses.libraries, declared.libraries)
        found += [
            f"dvc.yaml: {name}: writes {out}, which is not in data/{name}."
            for out in list_outs(stage)
            if not _within(out, name)
        ]
    return [*found, *sorted(unclear), *find_unrecorded(root / _VERSIONS_FILE, root / "pyproject.toml")]


def write_dependencies(root: Path) -> None:
    """Write what the stages use into dvc.yaml, and the versions that pyproject.toml pins into ``versions.yaml``.

    Nothing else in dvc.yaml changes.

    Args:
        root: the project's folder.
    """
    yaml = YAML()
    yaml.width = 1000
    yaml.indent(mapping=2, sequence=4, offset=2)
    pipeline = yaml.load(root / _PIPELINE_FILE)
    for name, entry in pipeline["stages"].items():
        if not (root / _script(name)).is_file():
            continue  # ``find_problems`` says so
        stage = entry.get("do", entry)
        declared = _read_declared(stage)
        uses = _find_uses(root, name, declared.files)
        data = [dep for dep in stage.get("deps", []) if dep not in declared.code]
        stage["deps"] = data + sorted(uses.code | uses.files)
        files = [param for param in stage.get("params", []) if not isinstance(param, str)]
        params = sorted(uses.params) + [param for param in files if _VERSIONS_FILE not in param]
        if uses.libraries:
            params.append({_VERSIONS_FILE: sorted(uses.libraries)})
        stage["params"] = params
        if not params:
            del stage["params"]
    content = io.BytesIO()
    yaml.dump(pipeline, content)
    replace_file(root / _PIPELINE_FILE, content.getvalue())
    write_versions(root / _VERSIONS_FILE, root / "pyproject.toml")


class _Declared(NamedTuple):
    """What a stage of dvc.yaml declares.

    Attributes:
        code: deps in stages/.
        data: other deps.
        params: sections and keys of params.yaml.
        files: other params files.
        libraries: in stages/versions.yaml.
    """

    code: set[str]
    data: set[str]
    params: set[str]
    files: set[str]
    libraries: set[str]


def _read_declared(stage: dict[str, Any]) -> _Declared:
    deps = set(stage.get("deps", []))
    code = {dep for dep in deps if dep.startswith("stages/")}
    params = [param for param in stage.get("params", []) if isinstance(param, str)]
    files = {
        file: keys for param in stage.get("params", []) if not isinstance(param, str) for file, keys in param.items()
    }
    return _Declared(
        code, deps - code, set(params), files.keys() - {_VERSIONS_FILE}, set(files.get(_VERSIONS_FILE, ()))
    )


class _Uses(NamedTuple):
    """What a stage uses, as dvc.yaml declares it.

    Attributes:
        code: Python files of the project.
        files: other files in stages/ that the code names.
        paths: other paths of the project that the code names.
        params: sections and keys of params.yaml.
        libraries: on which its bytes depend.
        unclassified: libraries that pipeline/libraries.py does not list.
        unclear: sentences on code that could not be followed.
    """

    code: set[str]
    files: set[str]
    paths: set[str]
    params: set[str]
    libraries: set[str]
    unclassified: set[str]
    unclear: set[str]


def _find_uses(root: Path, stage: str, params_files: set[str]) -> _Uses:
    code = {path: _read(root, path) for path in find_closure(root, _script(stage))}
    params, imports, paths = (
        {item for one in code.values() for item in getattr(one, field)} for field in ("params", "imports", "paths")
    )
    beside = {f"{path.rpartition('/')[0]}/{file}" for path, one in code.items() for file in one.files}
    named = {path for path in beside | paths if path.startswith("stages/") and (root / path).is_file()}
    files = {path for path in named - params_files - {_VERSIONS_FILE} if not path.endswith(".py")}
    # Only the chosen backend's code and library are inputs; a stage without a choice computes with TensorFlow.
    backend = _BACKEND if _BACKEND_KEY in params else BACKENDS[0]
    return _Uses(
        {_OF_BACKEND.sub(f"on_{backend}.py", path) for path in code},
        files,
        paths - files - {_PARAMS_FILE, _VERSIONS_FILE},
        params,
        {backend if name in BACKENDS else name for name in find_libraries(imports)},
        find_unclassified(imports),
        {line for one in code.values() for line in one.unclear},
    )


def find_closure(root: Path, script: str) -> set[str]:
    """Return the Python files that ``script`` needs: itself and what it imports, directly or indirectly.

    Args:
        root: the project's folder.
        script: relative to it.
    """
    found: set[str] = set()
    queue = [script]
    while queue:
        path = queue.pop()
        if path in found:
            continue
        found.add(path)
        for module in _read(root, path).imports:
            parts = module.split(".")
            candidates = ["/".join(parts) + ".py"] + [
                "/".join(parts[:n]) + "/__init__.py" for n in range(1, len(parts) + 1)
            ]
            queue += [candidate for candidate in candidates if (root / candidate).is_file()]
    return found


def _read(root: Path, path: str) -> SourceCode:
    return read_source_code((root / path).read_text(encoding="utf-8"), path)


def _script(stage: str) -> str:
    return f"stages/{stage}.py"


def list_outs(stage: dict[str, Any]) -> list[str]:
    """Return the paths that a stage of dvc.yaml writes."""
    outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in outs]


def _within(out: str, name: str) -> bool:
    return out == f"data/{name}" or out.startswith(f"data/{name}/")


def _match(declared: str, opened: set[str]) -> str:
    """Return the opened folder that holds a declared file, or the file itself."""
    return next((path for path in opened if declared.startswith(f"{path}/")), declared)


def _compare(name: str, key: str, verb: str, used: set[str], declared: set[str]) -> list[str]:
    missing = [f"dvc.yaml: {name}: {verb} {item}, which its {key} lack. Add it." for item in sorted(used - declared)]
    unused = [f"dvc.yaml: {name}: its {key} list {item}, which it does not use." for item in sorted(declared - used)]
    return missing + unused
