"""Compare the installed libraries with the versions that the results were recorded with."""

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
    """Return the differing libraries among those that dvc.yaml lists for ``stage``; none for a command."""
    entry = _section(_section(_read(_PIPELINE), "stages"), stage)
    names: list[str] = []
    for param in _section(entry, "do").get("params") or entry.get("params") or []:
        names += param.get(str(_VERSIONS), []) if isinstance(param, dict) else []
    if _BACKEND in names:
        backend = str(_section(_read(_PARAMS), "compute").get("backend"))
        names += [backend, *(["jaxlib"] if backend == "jax" else [])]
    return find_differences(names)


def find_differences(names: Iterable[str] | None = None) -> list[str]:
    """Return a text with both versions for each library whose installed version is not the recorded one.

    Args:
        names: the libraries to compare; by default all recorded ones.
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
    except PackageNotFoundError:  # its import will fail with a message
        return None


def _section(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # whoever needs the file reports it
        return {}
    return content if isinstance(content, dict) else {}
