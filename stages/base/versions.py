"""Compare the installed libraries with the versions that the results were recorded with."""

from collections.abc import Iterable
from contextlib import suppress
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
    return find_differences(list_libraries(stage))


def list_libraries(stage: str) -> list[str]:
    """Return the libraries that dvc.yaml lists for ``stage``; none for a command."""
    entry = _section(_section(_read(_PIPELINE), "stages"), stage)
    names: list[str] = []
    for param in _section(entry, "do").get("params") or entry.get("params") or []:
        names += param.get(str(_VERSIONS), []) if isinstance(param, dict) else []
    if _BACKEND in names:
        backend = str(_section(_read(_PARAMS), "compute").get("backend"))
        names = [name for name in names if name != _BACKEND] + [backend, *(["jaxlib"] if backend == "jax" else [])]
    return names


def list_installed(names: Iterable[str] | None = None) -> dict[str, str]:
    """Return the versions of installed libraries.

    Args:
        names: of the libraries; by default all recorded ones.
    """
    return {name: found for name in (_read(_VERSIONS) if names is None else names) if (found := find_version(name))}


def find_differences(names: Iterable[str] | None = None) -> list[str]:
    """Return a text with both versions for each library whose installed version is not the recorded one.

    Args:
        names: the libraries to compare; by default all recorded ones.
    """
    recorded = _read(_VERSIONS)
    return [
        f"{name} {recorded[name]} (installed: {found})"
        for name, found in list_installed(names).items()
        if name in recorded and found != str(recorded[name])
    ]


def find_version(name: str) -> str | None:
    """Return the installed version of a library, or of its build for GPUs; None if it is not installed."""
    for build in (name, f"{name}-gpu"):
        with suppress(PackageNotFoundError):  # its import will fail with a message
            return version(build)
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
