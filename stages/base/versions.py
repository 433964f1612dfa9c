"""Refuse to run a stage with other versions of its libraries than those that its results are recorded with."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

_PIPELINE = Path("dvc.yaml")
_PARAMS = Path("params.yaml")
_VERSIONS = Path("stages/versions.yaml")


def other_versions(stage: str) -> list[str]:
    """Return a sentence for each library that ``stage`` uses and that is installed in another version than recorded.

    In a folder without dvc.yaml, and of a command that is no stage, nothing is recorded.
    """
    entry = _read(_PIPELINE).get("stages", {}).get(stage, {})
    versions, found = _read(_VERSIONS), []
    for param in entry.get("do", entry).get("params", []):
        for name in param.get(str(_VERSIONS), []) if isinstance(param, dict) else []:
            if name.startswith("$"):
                name = _read(_PARAMS).get("compute", {}).get("backend")
            try:
                installed = version(name)
            except PackageNotFoundError:
                installed = "not"
            if name in versions and installed != str(versions[name]):
                found.append(f"{name} {versions[name]} (installed: {installed})")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError):  # who needs the file says so
        return {}
    return content if isinstance(content, dict) else {}
