"""Compare the libraries that are installed with the versions that results are recorded with."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

_PIPELINE = Path("dvc.yaml")
_PARAMS = Path("params.yaml")
_VERSIONS = Path("stages/versions.yaml")


def other_versions(stage: str) -> list[str]:
    """Return what differs of the libraries that dvc.yaml lists for ``stage``; nothing of a command that is no stage."""
    entry = _read(_PIPELINE).get("stages", {}).get(stage, {})
    params = [param for param in entry.get("do", entry).get("params", []) if isinstance(param, dict)]
    names = [name for param in params for name in param.get(str(_VERSIONS), [])]
    backend = _read(_PARAMS).get("compute", {}).get("backend") if any("$" in name for name in names) else None
    return differing(str(backend) if "$" in name else name for name in names)


def differing(names: Iterable[str] | None = None) -> list[str]:
    """Return what to install: each library with its recorded version, and the one that is installed, if it is another.

    Args:
        names: of libraries; by default all that are recorded and installed.
    """
    recorded, found = _read(_VERSIONS), []
    for name in recorded if names is None else names:
        try:
            installed = version(name)
        except PackageNotFoundError:
            if names is None:
                continue
            installed = "none"
        if name in recorded and installed != str(recorded[name]):
            found.append(f"{name} {recorded[name]} (installed: {installed})")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError):  # who needs the file says so
        return {}
    return content if isinstance(content, dict) else {}
