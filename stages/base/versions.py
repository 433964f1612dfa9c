"""Compare the libraries that are installed with the versions that results are recorded with."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

_PIPELINE = Path("dvc.yaml")
_PARAMS = Path("params.yaml")
_VERSIONS = Path("stages/versions.yaml")
_BACKEND = "${compute.backend}"  # as dvc.yaml lists the library of that name


def find_other_versions(stage: str) -> list[str]:
    """Return what differs of the libraries that dvc.yaml lists for ``stage``; nothing of a command that is no stage."""
    entry = _section(_section(_read(_PIPELINE), "stages"), stage)
    names: list[str] = []
    for param in _section(entry, "do").get("params") or entry.get("params") or []:
        names += param.get(str(_VERSIONS), []) if isinstance(param, dict) else []
    if _BACKEND in names:
        backend = str(_section(_read(_PARAMS), "compute").get("backend"))
        names += [backend, *(["jaxlib"] if backend == "jax" else [])]
    return find_differences(names)


def find_differences(names: Iterable[str] | None = None) -> list[str]:
    """Return each library with its recorded version and the one that is installed, where that is another.

    Args:
        names: of libraries; by default all that are recorded.
    """
    recorded, found = _read(_VERSIONS), []
    for name in recorded if names is None else names:
        installed = _installed(name) or _installed(f"{name}-gpu")
        if name in recorded and installed and installed != str(recorded[name]):
            found.append(f"{name} {recorded[name]} (installed: {installed})")
    return found


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # who imports it says so
        return None


def _section(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # who needs the file says so
        return {}
    return content if isinstance(content, dict) else {}
